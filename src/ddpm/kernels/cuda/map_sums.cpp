#include "ddpm/kernels/cuda/map_sums.h"

#include <ATen/ATen.h>
#include <c10/cuda/CUDAException.h>
#include <c10/cuda/CUDAStream.h>

#include "ddpm/kernels/cuda/bias_residual_kernels.h"
#include "ddpm/kernels/optional_tensor.h"

namespace ddpm::cuda {
namespace {

MapShape map_shape(const Tensor& map) {
  return {.rows = map.size(0) * map.size(2) * map.size(3),
          .channels = static_cast<int>(map.size(1)),
          .bf16 = map.scalar_type() == at::kBFloat16};
}

}  // namespace

void add_to_map(const Tensor& y, const Tensor& bias, const Tensor& residual,
                const Tensor& residual_bias) {
  const Tensor added = channels_last(residual);
  const MapAddends addends{
      .bias = data_of(bias), .residual = data_of(added), .residual_bias = data_of(residual_bias)};
  C10_CUDA_CHECK(add_bias_residual(map_shape(y), y.mutable_data_ptr(), addends,
                                   c10::cuda::getCurrentCUDAStream()));
}

Tensor sum_of_pixels(const Tensor& map) {
  const MapShape shape = map_shape(map);
  const auto numbers = map.options().memory_format(std::nullopt);
  Tensor sums = at::empty({map.size(1)}, numbers);
  const Tensor scratch = at::empty({sum_rows_scratch(shape)}, numbers.dtype(at::kFloat));
  C10_CUDA_CHECK(sum_rows(shape, map.const_data_ptr(), sums.mutable_data_ptr(),
                          scratch.mutable_data_ptr<float>(), c10::cuda::getCurrentCUDAStream()));
  return sums;
}

}  // namespace ddpm::cuda
