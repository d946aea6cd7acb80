#pragma once

#include <memory>

#include "ddpm/core/tensor.h"

namespace ddpm {
namespace cuda {
class TilesCache;
}

/// Convolutions' weights in the order in which Hopper's warpgroups read them
/// (PackedWeight::tiles()), for a network that trains, whose weights change with each step: one
/// launch packs all of them, where else each convolution packs its own, forward and backward.
///
/// It learns which weights there are from the convolutions that ask for tiles between refresh() and
/// expire(): the next refresh() takes one buffer for the tiles of all that are new, and for the
/// turned ones of those whose input's gradient is such a convolution, and packs them from then on.
/// In the first pass, outside of passes, for other weights, and on other streams than refresh() was
/// called on, convolutions pack what they need as if there were no cache.
///
/// Work that contains a whole pass, refresh() included, can be captured in a graph after two runs:
/// each replay packs the weights as they are then. The cache has to outlive the graph. A refresh()
/// that is captured takes no buffer: what is new by then is packed one by one in the graph.
///
/// Where no GPU computes with the weights it does nothing. Several threads may use it and others
/// like it at once.
class WeightTilesCache {
 public:
  /// @param weights [n] bfloat16, contiguous, of which the convolutions' weights are channels_last
  ///                views; kept. Undefined: nothing is packed.
  /// @throws std::invalid_argument if it is not as above.
  explicit WeightTilesCache(const Tensor& weights);

  /// Packs all weights that are known, on the current stream. Where it takes a buffer, the caching
  /// allocator's free blocks are given back before, so that none of them is split for it. Whoever
  /// writes to the weights has to call expire() before; reads of the tiles of before, on any
  /// stream, have to be done.
  void refresh();
  /// From here on no convolution is given tiles that were packed before.
  void expire() noexcept;

 private:
  std::shared_ptr<cuda::TilesCache> tiles_;  ///< None where nothing is packed.
};

/// The pass of a cache, which ends however the scope is left.
class TilesPass {
 public:
  explicit TilesPass(WeightTilesCache& cache) : cache_(cache) { cache_.refresh(); }
  ~TilesPass() { cache_.expire(); }
  TilesPass(const TilesPass&) = delete;
  TilesPass& operator=(const TilesPass&) = delete;

 private:
  WeightTilesCache& cache_;
};

}  // namespace ddpm
