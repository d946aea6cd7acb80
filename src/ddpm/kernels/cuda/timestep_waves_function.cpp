#include "ddpm/kernels/cuda/timestep_waves_function.h"

#include <ATen/ATen.h>
#include <c10/cuda/CUDAException.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>

#include <cmath>

#include "ddpm/kernels/cuda/timestep_waves_kernels.h"

namespace ddpm::cuda {
namespace {

constexpr int64_t kMostWaveRows = 65535;  // of a grid
constexpr int64_t kMostWaves = 1 << 20;

}  // namespace

bool timestep_waves_are_fused(const Tensor& t, const TimestepWavesOptions& options,
                              at::ScalarType rounded_to) {
  return t.is_cuda() && t.dim() == 1 && !t.requires_grad() && t.size(0) <= kMostWaveRows &&
         options.size <= kMostWaves && options.dtype == at::kFloat &&
         (t.scalar_type() == at::kLong || t.scalar_type() == at::kFloat) &&
         (rounded_to == at::kFloat || rounded_to == at::kBFloat16);
}

Tensor fused_timestep_waves(const Tensor& t, const TimestepWavesOptions& options,
                            at::ScalarType rounded_to) {
  const c10::cuda::CUDAGuard guard(t.device());
  const Tensor times = t.contiguous();
  const int64_t half = options.size / 2;
  const WavesShape shape{.rows = times.size(0),
                         .half = static_cast<int>(half),
                         .size = static_cast<int>(options.size),
                         .cos_first = options.cos_first,
                         .scale = static_cast<float>(options.scale),
                         .log_period = static_cast<float>(std::log(10000.0)),
                         .inverse_length = 1.0f / static_cast<float>(half - options.freq_shift),
                         .whole = times.scalar_type() == at::kLong,
                         .bf16 = rounded_to == at::kBFloat16};
  Tensor waves = at::empty({shape.rows, options.size}, times.options().dtype(rounded_to));
  C10_CUDA_CHECK(timestep_waves(shape, times.const_data_ptr(), waves.mutable_data_ptr(),
                                c10::cuda::getCurrentCUDAStream()));
  return waves;
}

}  // namespace ddpm::cuda
