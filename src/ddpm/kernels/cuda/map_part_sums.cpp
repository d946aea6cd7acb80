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

/// Those that are kept, or computed now and kept, of parts of at most so many pixels.
Tensor kept_or_new_sums(const Tensor& map, int most_pixels) {
  const Tensor kept = kept_with<KeptPartSums>(map);
  if (kept.defined()) return kept;
  const SumsShape shape = sums_shape(map);
  const int parts = parts_of_at_most(most_pixels, shape);
  const c10::cuda::CUDAGuard guard(map.device());
  const Tensor sums = empty_part_sums(map, parts);
  C10_CUDA_CHECK(sum_parts(shape, parts, map.const_data_ptr(), sums.mutable_data_ptr<float>(),
                           c10::cuda::getCurrentCUDAStream()));
  keep_part_sums(map, sums);  // a skip's map is normalised twice
  return sums;
}

}  // namespace

Tensor empty_part_sums(const Tensor& map, int64_t parts) {
  return at::empty({map.size(0), parts, map.size(1), 2},
                   map.options().memory_format(std::nullopt).dtype(at::kFloat));
}

void keep_part_sums(const Tensor& map, const Tensor& sums) { keep_with<KeptPartSums>(map, sums); }

Tensor part_sums(const Tensor& map) { return kept_or_new_sums(map, kSumPixels); }
Tensor small_part_sums(const Tensor& map) { return kept_or_new_sums(map, kSmallSumPixels); }

void add_bias_and_keep_sums(const Tensor& map, const Tensor& bias) {
  const SumsShape shape = sums_shape(map);
  const int parts = parts_of_at_most(kSumPixels, shape);
  const Tensor sums = empty_part_sums(map, parts);
  C10_CUDA_CHECK(add_bias_and_sum_parts(shape, parts, bias.const_data_ptr(), map.mutable_data_ptr(),
                                        sums.mutable_data_ptr<float>(),
                                        c10::cuda::getCurrentCUDAStream()));
  keep_part_sums(map, sums);
}

Tensor inner_map_with_bias(const Tensor& from, int64_t height, int64_t width, const Tensor& bias) {
  const Tensor map = at::empty({from.size(0), from.size(1), height, width},
                               from.options().memory_format(at::MemoryFormat::ChannelsLast));
  const SumsShape shape = sums_shape(map);
  const int parts = parts_of_at_most(kSumPixels, shape);
  const Tensor sums = empty_part_sums(map, parts);
  C10_CUDA_CHECK(add_bias_and_sum_inner_parts(
      shape,
      {.width = static_cast<int>(width),
       .from_height = static_cast<int>(from.size(2)),
       .from_width = static_cast<int>(from.size(3))},
      parts, bias.const_data_ptr(), from.const_data_ptr(), map.mutable_data_ptr(),
      sums.mutable_data_ptr<float>(), c10::cuda::getCurrentCUDAStream()));
  keep_part_sums(map, sums);
  return map;
}

bool has_norm_rows(const GroupNormSiluArgs& norm, int64_t channels) {
  for (const Tensor* tensor :
       {&norm.weight, &norm.bias, &norm.time_embedding, &norm.scale, &norm.shift}) {
    if (tensor->defined() && tensor->scalar_type() != at::kBFloat16) return false;
  }
  return !(norm.training && norm.dropout > 0) && channels <= kMostNormChannels &&
         channels % norm.num_groups == 0;
}

NormInputs::NormInputs(const GroupNormSiluArgs& norm, const Tensor& x, const Tensor& x_rest)
    : sums(part_sums(x)),
      rest_sums(x_rest.defined() ? part_sums(x_rest) : Tensor()),
      time_embedding(with_dense_rows(norm.time_embedding)),
      scale(with_dense_rows(norm.scale)),
      shift(with_dense_rows(norm.shift)) {
  check_arg(!scale.defined() || scale.stride(0) == shift.stride(0),
            "[conv2d] the norm's scale and shift must lie alike: expected one stride, got ",
            scale.defined() ? scale.stride(0) : 0, " and ", shift.defined() ? shift.stride(0) : 0);
  from = {.images = static_cast<int>(x.size(0)),
          .pixels = static_cast<int>(x.size(2) * x.size(3)),
          .parts = static_cast<int>(sums.size(1)),
          .rest_parts = rest_sums.defined() ? static_cast<int>(rest_sums.size(1)) : 0,
          .channels = static_cast<int>(x.size(1)),
          .rest_channels = x_rest.defined() ? static_cast<int>(x_rest.size(1)) : 0,
          .groups = static_cast<int>(norm.num_groups),
          .eps = static_cast<float>(norm.eps),
          .sums = sums.const_data_ptr<float>(),
          .rest_sums = rest_sums.defined() ? rest_sums.const_data_ptr<float>() : nullptr,
          .weight = data_of(norm.weight),
          .bias = data_of(norm.bias),
          .scale = data_of(scale),
          .shift = data_of(shift),
          .scale_stride = scale.defined() ? scale.stride(0) : 0,
          .time_embedding = data_of(time_embedding),
          .time_embedding_stride = time_embedding.defined() ? time_embedding.stride(0) : 0};
}

void NormInputs::ask_for(NormStatistics& statistics) {
  statistics.mean = at::empty({from.images, from.groups}, sums.options());
  statistics.rstd = at::empty_like(statistics.mean);
  from.mean = statistics.mean.mutable_data_ptr<float>();
  from.rstd = statistics.rstd.mutable_data_ptr<float>();
}

Tensor norm_rows(const NormInputs& norm) {
  const Tensor rows = at::empty({norm.from.images, norm.from.channels + norm.from.rest_channels, 2},
                                norm.sums.options());
  C10_CUDA_CHECK(
      norm_from_sums(norm.from, rows.mutable_data_ptr<float>(), c10::cuda::getCurrentCUDAStream()));
  return rows;
}

bool can_sum_parts(const Tensor& map) {
  return map.is_cuda() && map.scalar_type() == at::kBFloat16 && map.size(1) % 8 == 0 &&
         map.size(1) <= kMostNormChannels;
}

}  // namespace ddpm::cuda
