#include "ddpm/kernels/cuda/map_sums.h"

#include <ATen/ATen.h>
#include <c10/cuda/CUDAException.h>
#include <c10/cuda/CUDAStream.h>

#include <algorithm>

#include "ddpm/kernels/cuda/bias_residual_kernels.h"
#include "ddpm/kernels/cuda/kept_tensor.h"
#include "ddpm/kernels/cuda/side_stream.h"
#include "ddpm/kernels/cuda/sum_rows_kernels.h"
#include "ddpm/kernels/optional_tensor.h"

namespace ddpm::cuda {
namespace {

struct KeptPixelSums;

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

Tensor kept_pixel_sums(const Tensor& map) { return kept_with<KeptPixelSums>(map); }

void keep_pixel_sums(const Tensor& map, const Tensor& sums) { keep_with<KeptPixelSums>(map, sums); }

Tensor sum_of_pixels(const Tensor& map) {
  Tensor sums = kept_pixel_sums(map);
  if (!sums.defined()) {
    const MapShape shape = map_shape(map);
    const auto numbers = map.options().memory_format(std::nullopt);
    sums = at::empty({2, map.size(1)}, numbers);
    const Tensor scratch = at::empty({sum_rows_scratch(shape)}, numbers.dtype(at::kFloat));
    C10_CUDA_CHECK(sum_rows(shape, map.const_data_ptr(), sums.mutable_data_ptr(),
                            scratch.mutable_data_ptr<float>(), c10::cuda::getCurrentCUDAStream()));
    keep_pixel_sums(map, sums);
  }
  return sums.select(/*dim=*/0, 0);
}

void give_sums_of_pixels(const Tensor& d_y, const std::vector<Tensor*>& d_biases) {
  const auto wants = [](const Tensor* d_bias) { return d_bias != nullptr; };
  if (std::none_of(d_biases.begin(), d_biases.end(), wants)) return;
  run_beside({d_y}, [&] {
    bool is_given = false;
    const Tensor sums = sum_of_pixels(d_y);
    for (Tensor* const d_bias : d_biases) {
      if (d_bias == nullptr) continue;
      *d_bias = is_given ? sums.clone() : sums;  // autograd copies what others hold, not beside
      is_given = true;
    }
  });
}

void keep_product_sums(const Tensor& map, const Tensor& weight, const Tensor& product,
                       const Tensor& product_rest) {
  const Tensor given = kept_pixel_sums(map), dense = weight.contiguous();
  if (!given.defined() || (!product.defined() && !product_rest.defined())) return;
  const auto room = [&](const Tensor& of) {
    return of.defined() ? at::empty({2, of.size(1)}, given.options()) : Tensor();
  };
  const Tensor sums = room(product), rest_sums = room(product_rest);
  const int64_t rest_channels =
      product.defined() ? weight.size(1) - product.size(1) : product_rest.size(1);
  const MapShape shape{.rows = weight.size(0),
                       .channels = static_cast<int>(weight.size(1)),
                       .bf16 = weight.scalar_type() == at::kBFloat16};
  run_beside({given, dense, sums, rest_sums}, [&] {
    C10_CUDA_CHECK(sum_product_rows(shape, given.const_data_ptr(),
                                    {.weight = dense.const_data_ptr(),
                                     .rest_channels = static_cast<int>(rest_channels),
                                     .sums = room_of(sums),
                                     .rest_sums = room_of(rest_sums)},
                                    c10::cuda::getCurrentCUDAStream()));
  });
  if (product.defined()) keep_pixel_sums(product, sums);
  if (product_rest.defined()) keep_pixel_sums(product_rest, rest_sums);
}

}  // namespace ddpm::cuda
