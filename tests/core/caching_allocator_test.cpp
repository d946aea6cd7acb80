#include "ddpm/core/caching_allocator.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <sys/resource.h>
#include <thread>

#include "ddpm/core/resources.h"
#include "ddpm/core/tensor.h"

namespace ddpm {
namespace {

constexpr int64_t kMib = int64_t{1} << 20;

class CachingAllocatorTest : public ::testing::Test {
 protected:
  void SetUp() override {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    GTEST_SKIP() << "sanitizer builds keep nothing";
#endif
    cache_cpu_tensors();
  }
};

Tensor filled(int64_t size_bytes) { return at::empty({size_bytes}, at::kByte).fill_(1); }

int64_t page_faults() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return usage.ru_minflt;
}

TEST_F(CachingAllocatorTest, AFreedBlockIsHandedOutAgain) {
  const void* const first = filled(64 * kMib).data_ptr();
  const int64_t before = page_faults();
  for (int i = 0; i < 4; ++i) EXPECT_EQ(filled(64 * kMib - i).data_ptr(), first);
  EXPECT_LT(page_faults() - before, 1000);  // 4 times 16384 pages otherwise
}

TEST_F(CachingAllocatorTest, BlocksInUseAreApart) {
  const Tensor a = filled(3 * kMib);
  const Tensor b = at::full({3 * kMib}, 2, at::kByte);
  const Tensor small = at::full({100}, 3, at::kByte);
  EXPECT_NE(a.data_ptr(), b.data_ptr());
  EXPECT_TRUE(a.eq(1).all().item<bool>());
  EXPECT_TRUE(b.eq(2).all().item<bool>());
  EXPECT_TRUE(small.eq(3).all().item<bool>());
}

TEST_F(CachingAllocatorTest, StorageThatGrowsKeepsItsBytes) {
  Tensor grown = filled(2 * kMib);
  grown.resize_({20 * kMib});
  EXPECT_TRUE(grown.narrow(0, 0, 2 * kMib).eq(1).all().item<bool>());
}

TEST_F(CachingAllocatorTest, ABlockMayBeFreedInAnotherThread) {
  Tensor tensor = filled(48 * kMib);
  const void* const data = tensor.data_ptr();
  std::thread([freed = std::move(tensor)]() mutable { freed.reset(); }).join();
  EXPECT_EQ(filled(48 * kMib).data_ptr(), data);
}

TEST_F(CachingAllocatorTest, SizesThatNeverComeBackDoNotPileUp) {
  const uint64_t before = resident_memory_bytes();
  for (int64_t size = 33; size < 97; ++size) filled(size * kMib);
  // 64 sizes in 21 classes, 1.3 GiB in all; what is kept is at most the last block or two.
  EXPECT_LT(resident_memory_bytes(), before + 400 * static_cast<uint64_t>(kMib));
}

}  // namespace
}  // namespace ddpm
