#include "ddpm/kernels/cuda/conv2d_tiles_cache.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <c10/cuda/CUDACachingAllocator.h>
#include <c10/cuda/CUDAException.h>
#include <c10/cuda/CUDAGraphsC10Utils.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/util/accumulate.h>

#include <algorithm>
#include <mutex>

#include "ddpm/kernels/cuda/empty_tiles.h"

namespace ddpm::cuda {
namespace {

struct TilesCaches {
  std::mutex mutex;
  std::vector<TilesCache*> all;
};

TilesCaches& tiles_caches() {
  static TilesCaches caches;
  return caches;
}

bool stream_is_captured() {
  return c10::cuda::currentStreamCaptureStatusMayInitCtx() != c10::cuda::CaptureStatus::None;
}

/// Whether the kernel reads it where it stands.
bool is_read_in_place(const Tensor& weight) {
  return weight.is_contiguous(at::MemoryFormat::ChannelsLast) &&
         reinterpret_cast<uintptr_t>(weight.const_data_ptr()) % 16 == 0;
}

int64_t tiles_numel(const TilesShape& shape) { return c10::multiply_integers(tiles_sizes(shape)); }

template <typename Value>
Tensor bytes_on_device(std::vector<Value>& values, at::Device device) {
  const auto size = static_cast<int64_t>(values.size() * sizeof(Value));
  return at::from_blob(values.data(), {size}, at::TensorOptions(at::kByte)).to(device);
}

}  // namespace

TilesCache::TilesCache(const Tensor& weights) : weights_(weights.detach()) {
  TilesCaches& caches = tiles_caches();
  const std::lock_guard lock(caches.mutex);
  caches.all.push_back(this);
}

TilesCache::~TilesCache() {
  TilesCaches& caches = tiles_caches();
  const std::lock_guard lock(caches.mutex);
  std::erase(caches.all, this);
}

void TilesCache::refresh() {
  const std::lock_guard lock(tiles_caches().mutex);
  const c10::cuda::CUDAGuard guard(weights_.device());
  const at::NoGradGuard no_grad;
  stream_.reset();
  const c10::cuda::CUDAStream stream = c10::cuda::getCurrentCUDAStream();
  const size_t listed = tables_.empty() ? 0 : tables_.back().count;
  // Memory that is taken in a capture would be the graph's.
  if (listed < entries_.size() && !stream_is_captured()) {
    make_room();
    tables_.push_back(make_table());
  }
  if (!tables_.empty()) {
    const Table& table = tables_.back();
    C10_CUDA_CHECK(pack_all_conv2d_tiles(
        {.entries = static_cast<const TilesEntry*>(table.entries.const_data_ptr()),
         .entry_of_block = static_cast<const int*>(table.entry_of_block.const_data_ptr()),
         .blocks = table.blocks},
        stream));
  }
  stream_ = stream;
}

void TilesCache::expire() noexcept {
  const std::lock_guard lock(tiles_caches().mutex);
  stream_.reset();
}

bool TilesCache::covers(const Tensor& weight) const {
  const auto* const begin = static_cast<const char*>(weights_.const_data_ptr());
  const auto* const first = static_cast<const char*>(weight.const_data_ptr());
  return first >= begin && first + weight.nbytes() <= begin + weights_.nbytes();
}

Tensor TilesCache::tiles_of(const Tensor& weight, bool turned) {
  // On another stream the launches that packed them need not be done.
  const c10::cuda::CUDAStream stream = c10::cuda::getCurrentCUDAStream(weight.device().index());
  if (!stream_ || *stream_ != stream || !is_read_in_place(weight)) return {};
  const TilesShape shape = tiles_shape(weight, turned);
  if (const Entry* entry = find(weight.const_data_ptr(), shape)) {
    const size_t packed = tables_.empty() ? 0 : tables_.back().count;
    return entry - entries_.data() < static_cast<ptrdiff_t>(packed) ? entry->tiles : Tensor();
  }
  entries_.push_back({.shape = shape, .weight = weight.const_data_ptr()});
  return {};
}

TilesCache::Entry* TilesCache::find(const void* weight, const TilesShape& shape) {
  const auto found = std::find_if(entries_.begin(), entries_.end(), [&](const Entry& entry) {
    return entry.weight == weight && entry.shape == shape;
  });
  return found == entries_.end() ? nullptr : &*found;
}

/// One buffer for all that have none. It stays: a larger block that it was split from could never
/// be given back by the allocator, so that it has none to split.
void TilesCache::make_room() {
  c10::cuda::CUDACachingAllocator::emptyCache();
  const auto first = std::find_if(entries_.begin(), entries_.end(),
                                  [](const Entry& entry) { return !entry.tiles.defined(); });
  int64_t size = 0;
  for (auto entry = first; entry != entries_.end(); ++entry) size += tiles_numel(entry->shape);
  const Tensor buffer = at::empty({size}, weights_.options());
  int64_t begin = 0;
  for (auto entry = first; entry != entries_.end(); ++entry) {
    const int64_t numel = tiles_numel(entry->shape);
    entry->tiles = buffer.narrow(/*dim=*/0, begin, numel).view(tiles_sizes(entry->shape));
    begin += numel;
  }
}

TilesCache::Table TilesCache::make_table() const {
  std::vector<TilesEntry> entries;
  std::vector<int> entry_of_block;
  for (const Entry& entry : entries_) {
    const auto blocks = static_cast<size_t>(conv2d_tiles_blocks(entry.shape));
    entry_of_block.insert(entry_of_block.end(), blocks, static_cast<int>(entries.size()));
    entries.push_back({.shape = entry.shape,
                       .weight = entry.weight,
                       .tiles = entry.tiles.mutable_data_ptr(),
                       .first_block = static_cast<int>(entry_of_block.size() - blocks)});
  }
  return {.entries = bytes_on_device(entries, weights_.device()),
          .entry_of_block = bytes_on_device(entry_of_block, weights_.device()),
          .count = entries.size(),
          .blocks = static_cast<int>(entry_of_block.size())};
}

Tensor cached_tiles(const Tensor& weight, bool turned) {
  TilesCaches& caches = tiles_caches();
  const std::lock_guard lock(caches.mutex);
  for (TilesCache* const cache : caches.all) {
    if (!cache->covers(weight)) continue;
    if (const Tensor tiles = cache->tiles_of(weight, turned); tiles.defined()) return tiles;
  }
  return {};
}

}  // namespace ddpm::cuda
