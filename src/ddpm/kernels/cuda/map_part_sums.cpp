#include "ddpm/kernels/cuda/map_part_sums.h"

#include <ATen/ATen.h>
#include <c10/cuda/CUDAException.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>

#include "ddpm/core/check.h"
#include "ddpm/kernels/cuda/group_norm_sums_kernels.h"
#include "ddpm/kernels/cuda/kept_tensor.h"
#include "ddpm/kernels/optional_tensor.h"

namespace ddpm::cuda {
namespace {

struct KeptPartSums;

constexpr int64_t kMostNormChannels = 2048;

SumsShape sums_shape(const Tensor& map) {
  return {.images = static_cast<int>(map.size(0)),
          .pixels = static_cast<int>(map.size(2) * map.size(3)),
          .channels = static_cast<int>(map.size(1))};
}

/// @return [images, parts, channels, 2]
Tensor sum_and_keep(const Tensor& map, const SumsShape& shape, int parts) {
  const c10::cuda::CUDAGuard guard(map.device());
  const Tensor sums = at::empty({map.size(0), parts, map.size(1), 2},
                                map.options().memory_format(std::nullopt).dtype(at::kFloat));
  C10_CUDA_CHECK(sum_parts(shape, parts, map.const_data_ptr(), sums.mutable_data_ptr<float>(),
                           c10::cuda::getCurrentCUDAStream()));
  keep_part_sums(map, sums);  // a skip's map is normalised twice
  return sums;
}

}  // namespace

void keep_part_sums(const Tensor& map, const Tensor& sums) { keep_with<KeptPartSums>(map, sums); }

Tensor part_sums(const Tensor& map) {
  const SumsShape shape = sums_shape(map);
  const int parts = shape.pixels / kSumPixels;
  const Tensor kept = kept_with<KeptPartSums>(map);
  return kept.defined() && kept.size(1) == parts ? kept : sum_and_keep(map, shape, parts);
}

bool has_norm_rows(const GroupNormSiluArgs& norm, int64_t channels) {
  for (const Tensor* tensor :
       {&norm.weight, &norm.bias, &norm.time_embedding, &norm.scale, &norm.shift}) {
    if (tensor->defined() && tensor->scalar_type() != at::kBFloat16) return false;
  }
  return !(norm.training && norm.dropout > 0) && channels <= kMostNormChannels &&
         channels % norm.num_groups == 0;
}

Tensor norm_rows(const GroupNormSiluArgs& norm, const Tensor& x, const Tensor& x_rest,
                 NormStatistics* statistics) {
  const int64_t rest_channels = x_rest.defined() ? x_rest.size(1) : 0;
  const Tensor sums = part_sums(x), rest_sums = x_rest.defined() ? part_sums(x_rest) : Tensor();
  const Tensor time = with_dense_rows(norm.time_embedding);
  const Tensor scale = with_dense_rows(norm.scale), shift = with_dense_rows(norm.shift);
  check_arg(!scale.defined() || scale.stride(0) == shift.stride(0),
            "[conv2d] the norm's scale and shift must lie alike: expected one stride, got ",
            scale.defined() ? scale.stride(0) : 0, " and ", shift.defined() ? shift.stride(0) : 0);
  NormFromSums from{.images = static_cast<int>(x.size(0)),
                    .pixels = static_cast<int>(x.size(2) * x.size(3)),
                    .channels = static_cast<int>(x.size(1)),
                    .rest_channels = static_cast<int>(rest_channels),
                    .groups = static_cast<int>(norm.num_groups),
                    .eps = static_cast<float>(norm.eps),
                    .sums = sums.const_data_ptr<float>(),
                    .rest_sums = rest_sums.defined() ? rest_sums.const_data_ptr<float>() : nullptr,
                    .weight = data_of(norm.weight),
                    .bias = data_of(norm.bias),
                    .scale = data_of(scale),
                    .shift = data_of(shift),
                    .scale_stride = scale.defined() ? scale.stride(0) : 0,
                    .time_embedding = data_of(time),
                    .time_embedding_stride = time.defined() ? time.stride(0) : 0};
  if (statistics != nullptr) {
    statistics->mean = at::empty({x.size(0), norm.num_groups}, sums.options());
    statistics->rstd = at::empty_like(statistics->mean);
    from.mean = statistics->mean.mutable_data_ptr<float>();
    from.rstd = statistics->rstd.mutable_data_ptr<float>();
  }
  const Tensor rows = at::empty({x.size(0), x.size(1) + rest_channels, 2}, sums.options());
  C10_CUDA_CHECK(
      norm_from_sums(from, rows.mutable_data_ptr<float>(), c10::cuda::getCurrentCUDAStream()));
  return rows;
}

Tensor any_part_sums(const Tensor& map) {
  const Tensor kept = kept_with<KeptPartSums>(map);
  if (kept.defined()) return kept;
  const SumsShape shape = sums_shape(map);
  return sum_and_keep(map, shape, small_parts(shape));
}

bool can_sum_parts(const Tensor& map) {
  return map.is_cuda() && map.scalar_type() == at::kBFloat16 && map.size(1) % 8 == 0 &&
         map.size(1) <= kMostNormChannels;
}

}  // namespace ddpm::cuda
