#include "ddpm/core/caching_allocator.h"

#include <c10/core/Allocator.h>
#include <c10/core/CPUAllocator.h>
#include <c10/core/impl/alloc_cpu.h>

#include <algorithm>
#include <bit>
#include <cstdint>
#include <cstdlib>
#include <mutex>
#include <new>
#include <sys/mman.h>
#include <unordered_map>
#include <vector>

namespace ddpm {
namespace {

constexpr size_t kHugePage = size_t{2} << 20;
constexpr size_t kSmallestCached = size_t{1} << 20;

/// Rounded up by at most an eighth, so that nearly equal sizes share blocks.
size_t block_size(size_t size) {
  const size_t step = std::max(kHugePage, std::bit_floor(size) / 8);
  return (size + step - 1) / step * step;
}

class CachingAllocator final : public c10::Allocator {
 public:
  static CachingAllocator& instance() {
    static auto* const allocator = new CachingAllocator;  // outlives every tensor
    return *allocator;
  }

  c10::DataPtr allocate(size_t size) override {
    void* const data = size < kSmallestCached ? c10::alloc_cpu(size) : take(block_size(size));
    return {data, data, &release, c10::Device(c10::kCPU)};
  }
  c10::DeleterFnPtr raw_deleter() const override { return &release; }
  void copy_data(void* to, const void* from, std::size_t size) const override {
    default_copy_data(to, from, size);
  }

 private:
  static void release(void* data) {
    // Small blocks are seldom aligned like this: their release need not lock.
    const bool may_be_large = reinterpret_cast<uintptr_t>(data) % kHugePage == 0;
    if (!may_be_large || !instance().keep(data)) c10::free_cpu(data);
  }

  void* take(size_t size) {
    const std::lock_guard lock(mutex_);
    std::vector<void*>& blocks = kept_[size];
    void* data = nullptr;
    if (!blocks.empty()) {
      data = blocks.back();
      blocks.pop_back();
      kept_bytes_ -= size;
    } else {
      if (kept_bytes_ > used_bytes_) free_kept();
      data = allocate_block(size);
    }
    used_[data] = size;
    used_bytes_ += size;
    return data;
  }

  /// False if `data` is not a block of this allocator.
  bool keep(void* data) {
    if (data == nullptr) return true;
    const std::lock_guard lock(mutex_);
    const auto block = used_.find(data);
    if (block == used_.end()) return false;
    const size_t size = block->second;
    used_.erase(block);
    used_bytes_ -= size;
    kept_[size].push_back(data);
    kept_bytes_ += size;
    return true;
  }

  void* allocate_block(size_t size) {
    void* data = std::aligned_alloc(kHugePage, size);
    if (data == nullptr) {
      free_kept();
      data = std::aligned_alloc(kHugePage, size);
    }
    if (data == nullptr) throw std::bad_alloc();
    madvise(data, size, MADV_HUGEPAGE);  // a hint: without huge pages it is merely slower
    return data;
  }

  void free_kept() {
    for (auto& [size, blocks] : kept_) {
      for (void* const data : blocks) std::free(data);
      blocks.clear();
    }
    kept_bytes_ = 0;
  }

  std::mutex mutex_;
  std::unordered_map<size_t, std::vector<void*>> kept_;
  std::unordered_map<void*, size_t> used_;
  size_t kept_bytes_ = 0;
  size_t used_bytes_ = 0;
};

}  // namespace

void cache_cpu_tensors() {
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
  c10::SetCPUAllocator(&CachingAllocator::instance(), /*priority=*/100);
#endif
}

}  // namespace ddpm
