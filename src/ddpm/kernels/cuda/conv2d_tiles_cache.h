#pragma once

#include <c10/cuda/CUDAStream.h>

#include <cstdint>
#include <optional>
#include <vector>

#include "ddpm/core/tensor.h"
#include "ddpm/kernels/cuda/conv2d_tiles_kernels.h"

namespace ddpm::cuda {

/// The tiles of a WeightTilesCache on a GPU. Several threads may use it at once.
class TilesCache {
 public:
  /// @param weights [n] bfloat16 on a GPU, contiguous.
  explicit TilesCache(const Tensor& weights);
  ~TilesCache();
  TilesCache(const TilesCache&) = delete;
  TilesCache& operator=(const TilesCache&) = delete;

  void refresh();
  void expire() noexcept;

 private:
  friend Tensor cached_tiles(const Tensor& weight, bool turned);

  struct Entry {
    TilesShape shape;
    const void* weight = nullptr;
    Tensor tiles;  ///< Undefined until the refresh() after it was asked for.
  };
  /// The memory of a TilesTable, and of how many entries.
  struct Table {
    Tensor entries, entry_of_block;
    size_t count = 0;  ///< of entries
    int blocks = 0;
  };

  // These are called with the mutex of all caches locked.
  bool covers(const Tensor& weight) const;
  Tensor tiles_of(const Tensor& weight, bool turned);
  Entry* find(const void* weight, const TilesShape& shape);
  void make_room();
  Table make_table() const;

  Tensor weights_;
  std::vector<Entry> entries_;  ///< In the order in which they were asked for.
  std::vector<Table> tables_;   ///< All that there were: captured graphs read them.
  std::optional<c10::cuda::CUDAStream> stream_;  ///< Of refresh(), until expire().
};

/// What the caches hold for a weight [O, C, k, k] of bf16. Undefined where no cache may be used for
/// it, or its cache has only now learnt of it.
Tensor cached_tiles(const Tensor& weight, bool turned);

}  // namespace ddpm::cuda
