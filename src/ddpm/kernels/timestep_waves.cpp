#include "ddpm/kernels/timestep_waves.h"

#include <ATen/ATen.h>

#include <cmath>
#ifdef DDPM_CUDA
#include "ddpm/kernels/cuda/timestep_waves_function.h"
#endif

namespace ddpm {

Tensor timestep_waves(const Tensor& t, const TimestepWavesOptions& options,
                      at::ScalarType rounded_to) {
#ifdef DDPM_CUDA
  if (cuda::timestep_waves_are_fused(t, options, rounded_to)) {
    return cuda::fused_timestep_waves(t, options, rounded_to);
  }
#endif
  const double log_max_period = std::log(10000.0);
  const int64_t half = options.size / 2;
  const auto index = at::arange(half, t.options().dtype(options.dtype));
  const auto frequency =
      (index * -log_max_period / static_cast<double>(half - options.freq_shift)).exp();
  Tensor time = t.to(options.dtype);
  if (options.scale != 1.0) time = time * options.scale;
  const Tensor angle = time.unsqueeze(1) * frequency;
  const Tensor waves = options.cos_first ? at::cat({angle.cos(), angle.sin()}, /*dim=*/1)
                                         : at::cat({angle.sin(), angle.cos()}, /*dim=*/1);
  return at::constant_pad_nd(waves, {0, options.size % 2}).to(rounded_to);
}

}  // namespace ddpm
