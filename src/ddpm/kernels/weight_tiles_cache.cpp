#include "ddpm/kernels/weight_tiles_cache.h"

#include <ATen/ATen.h>

#include "ddpm/core/check.h"
#ifdef DDPM_CUDA
#include "ddpm/kernels/cuda/conv2d_tiles_cache.h"
#endif

namespace ddpm {

WeightTilesCache::WeightTilesCache(const Tensor& weights) {
  if (!weights.defined()) return;
  check_arg(
      weights.dim() == 1 && weights.scalar_type() == at::kBFloat16 && weights.is_contiguous(),
      "[WeightTilesCache] weights have a wrong shape or dtype: expected [n] BFloat16, contiguous, ",
      "got ", weights.sizes(), " ", weights.scalar_type());
#ifdef DDPM_CUDA
  if (weights.is_cuda()) tiles_ = std::make_shared<cuda::TilesCache>(weights);
#endif
}

void WeightTilesCache::refresh() {
#ifdef DDPM_CUDA
  if (tiles_) tiles_->refresh();
#endif
}

void WeightTilesCache::expire() noexcept {
#ifdef DDPM_CUDA
  if (tiles_) tiles_->expire();
#endif
}

}  // namespace ddpm
