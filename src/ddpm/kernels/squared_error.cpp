#include "ddpm/kernels/squared_error.h"

#include <ATen/ATen.h>

#include <numeric>
#include <vector>

#include "ddpm/core/check.h"
#ifdef DDPM_CUDA
#include "ddpm/kernels/cuda/squared_error_function.h"
#endif

namespace ddpm {

Tensor squared_error_per_image(const Tensor& prediction, const Tensor& target) {
  check_arg(prediction.sizes() == target.sizes() && prediction.dim() >= 2,
            "[squared_error_per_image] prediction must be [N, ...] like the target: expected ",
            target.sizes(), ", got ", prediction.sizes());
#ifdef DDPM_CUDA
  if (cuda::squared_error_is_fused(prediction, target)) {
    return cuda::fused_squared_error(prediction, target);
  }
#endif
  return mean_of_images(
      at::mse_loss(prediction.to(at::kFloat), target.to(at::kFloat), at::Reduction::None));
}

Tensor mean_of_images(const Tensor& values) {
  std::vector<int64_t> image_dims(static_cast<size_t>(values.dim() - 1));
  std::iota(image_dims.begin(), image_dims.end(), 1);
  return values.mean(image_dims);  // flatten(1) would copy a channels_last batch
}

}  // namespace ddpm
