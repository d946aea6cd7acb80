#include "ddpm/kernels/cuda/conv2d_few_pixels_function.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <c10/cuda/CUDAException.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>

#include <optional>

#include "ddpm/core/check.h"
#include "ddpm/kernels/cuda/conv2d_few_pixels_kernels.h"
#include "ddpm/kernels/cuda/map_part_sums.h"
#include "ddpm/kernels/cuda/pixel_product_function.h"
#include "ddpm/kernels/group_norm_silu.h"
#include "ddpm/kernels/optional_tensor.h"

namespace ddpm::cuda {
namespace {

int width_of(const Tensor& map) { return map.defined() ? static_cast<int>(map.size(1)) : 0; }
bool has_sizes(const Tensor& tensor, at::IntArrayRef sizes) {
  return !tensor.defined() || tensor.sizes() == sizes;
}

ConvMaps few_pixels_maps(const Conv2dArgs& args) {
  const int times = args.upsampled ? 2 : 1;
  ConvMaps maps{.images = static_cast<int>(args.x.size(0)),
                .height = static_cast<int>(args.x.size(2)) * times,
                .width = static_cast<int>(args.x.size(3)) * times,
                .channels = width_of(args.x) + width_of(args.x_rest),
                .out_channels = static_cast<int>(args.weight.size(0)),
                .kernel = static_cast<int>(args.weight.size(2)),
                .stride = static_cast<int>(args.stride),
                .padding = static_cast<int>(args.padding),
                .rest_channels = width_of(args.x_rest),
                .upsampled = args.upsampled};
  const auto side = [&](int size) {
    return (size + 2 * maps.padding + (args.padded ? 1 : 0) - maps.kernel) / maps.stride + 1;
  };
  maps.out_height = side(maps.height);
  maps.out_width = side(maps.width);
  return maps;
}

/// Without its tensors' places.
ConvShortcut few_pixels_shortcut(const Conv2dArgs& args) {
  if (args.shortcut == nullptr) return {};
  return {.channels = width_of(args.shortcut->x), .rest_channels = width_of(args.shortcut->x_rest)};
}

bool all_bf16_on_gpu(const Conv2dArgs& args) {
  for (const Tensor* tensor : {&args.x, &args.x_rest, &args.weight, &args.bias, &args.residual,
                               &args.residual_bias, &args.image_bias}) {
    if (tensor->defined() && (!tensor->is_cuda() || tensor->scalar_type() != at::kBFloat16)) {
      return false;
    }
  }
  return true;
}

/// What has others is refused elsewhere.
bool has_fitting_sizes(const Conv2dArgs& args, const ConvMaps& maps) {
  const int64_t out = maps.out_channels;
  return args.weight.size(1) == maps.channels && args.weight.size(3) == maps.kernel &&
         has_sizes(args.bias, {out}) && has_sizes(args.residual_bias, {out}) &&
         has_sizes(args.image_bias, {maps.images, out}) &&
         has_sizes(args.residual, {maps.images, out, maps.out_height, maps.out_width}) &&
         has_sizes(args.x_rest,
                   {maps.images, maps.rest_channels, args.x.size(2), args.x.size(3)}) &&
         width_of(args.x) % 8 == 0 &&
         (!args.image_bias.defined() || args.image_bias.stride(1) == 1);
}

bool takes_norm_of_few_pixels(const Conv2dArgs& args, const ConvMaps& maps) {
  if (args.norm == nullptr) return true;
  const GroupNormSiluArgs& norm = *args.norm;
  const int64_t in = maps.channels;
  return !args.upsampled && !norm.time_embedding.defined() &&
         !(norm.training && norm.dropout > 0) && norm.weight.scalar_type() == at::kBFloat16 &&
         in % norm.num_groups == 0 && has_sizes(norm.weight, {in}) && has_sizes(norm.bias, {in}) &&
         has_sizes(norm.scale, {maps.images, in}) && has_sizes(norm.shift, {maps.images, in}) &&
         can_sum_parts(args.x) && (!args.x_rest.defined() || can_sum_parts(args.x_rest));
}

bool takes_shortcut_of_few_pixels(const Conv2dArgs& args, const ConvMaps& maps) {
  if (args.shortcut == nullptr) return true;
  const Conv2dArgs& side = *args.shortcut;
  return is_pixel_product(side) && all_bf16_on_gpu(side) && !side.bias.defined() &&
         !side.residual.defined() && !side.residual_bias.defined() && side.norm == nullptr &&
         side.shortcut == nullptr && !side.image_bias.defined() && !args.residual.defined() &&
         side.weight.size(0) == maps.out_channels &&
         has_sizes(side.x, {maps.images, width_of(side.x), maps.out_height, maps.out_width}) &&
         has_sizes(side.x_rest,
                   {maps.images, width_of(side.x_rest), maps.out_height, maps.out_width});
}

/// The norm's tensors, which stay until the kernel is launched.
struct FewPixelsNorm {
  Tensor sums, rest_sums, scale, shift;
  ConvNorm norm;

  FewPixelsNorm(const GroupNormSiluArgs& args, const Tensor& x, const Tensor& x_rest)
      : sums(small_part_sums(x)),
        rest_sums(x_rest.defined() ? small_part_sums(x_rest) : Tensor()),
        scale(with_dense_rows(args.scale)),
        shift(with_dense_rows(args.shift)) {
    check_arg(!scale.defined() || scale.stride(0) == shift.stride(0),
              "[conv2d] the norm's scale and shift must lie alike: expected one stride, got ",
              scale.defined() ? scale.stride(0) : 0, " and ",
              shift.defined() ? shift.stride(0) : 0);
    norm = {.sums = sums.const_data_ptr<float>(),
            .rest_sums = rest_sums.defined() ? rest_sums.const_data_ptr<float>() : nullptr,
            .parts = static_cast<int>(sums.size(1)),
            .rest_parts = rest_sums.defined() ? static_cast<int>(rest_sums.size(1)) : 0,
            .groups = static_cast<int>(args.num_groups),
            .eps = static_cast<float>(args.eps),
            .silu = args.silu,
            .weight = data_of(args.weight),
            .bias = data_of(args.bias),
            .scale = data_of(scale),
            .shift = data_of(shift),
            .scale_stride = scale.defined() ? scale.stride(0) : 0};
  }
};

}  // namespace

bool is_few_pixels_conv2d(const Conv2dArgs& args) {
  if (at::GradMode::is_enabled() || !args.x.is_cuda() || args.transposed ||
      !all_bf16_on_gpu(args) || !args.weight.is_contiguous(at::MemoryFormat::ChannelsLast) ||
      (args.padded && (args.upsampled || args.norm != nullptr || args.shortcut != nullptr)) ||
      (args.upsampled && (args.weight.size(2) != 3 || args.stride != 1 || args.padding != 1))) {
    return false;
  }
  const c10::cuda::CUDAGuard guard(args.x.device());
  const ConvMaps maps = few_pixels_maps(args);
  return has_fitting_sizes(args, maps) && takes_norm_of_few_pixels(args, maps) &&
         takes_shortcut_of_few_pixels(args, maps) &&
         conv2d_has_few_pixels(maps, few_pixels_shortcut(args));
}

Tensor few_pixels_conv2d(const Conv2dArgs& args) {
  const c10::cuda::CUDAGuard guard(args.x.device());
  const ConvMaps maps = few_pixels_maps(args);
  const Tensor x = channels_last(args.x), x_rest = channels_last(args.x_rest);
  const Tensor residual = channels_last(args.residual);
  const Tensor y = at::empty({maps.images, maps.out_channels, maps.out_height, maps.out_width},
                             x.options().memory_format(at::MemoryFormat::ChannelsLast));
  ConvTensors tensors;
  tensors.x = x.const_data_ptr();
  tensors.x_rest = data_of(x_rest);
  tensors.weight = args.weight.const_data_ptr();
  tensors.shortcut = few_pixels_shortcut(args);
  tensors.addends = {.bias = data_of(args.bias),
                     .residual = data_of(residual),
                     .residual_bias = data_of(args.residual_bias)};
  tensors.image_bias = data_of(args.image_bias);
  if (args.image_bias.defined()) tensors.image_bias_stride = args.image_bias.stride(0);
  tensors.y = y.mutable_data_ptr();
  Tensor side, side_rest, side_weight;
  if (args.shortcut != nullptr) {
    side = channels_last(args.shortcut->x);
    side_rest = channels_last(args.shortcut->x_rest);
    const Tensor& weight = args.shortcut->weight;
    side_weight = weight.reshape({weight.size(0), weight.size(1)}).contiguous();
    tensors.shortcut.x = side.const_data_ptr();
    tensors.shortcut.x_rest = data_of(side_rest);
    tensors.shortcut.weight = side_weight.const_data_ptr();
  }
  std::optional<FewPixelsNorm> norm;
  if (args.norm != nullptr) tensors.norm = norm.emplace(*args.norm, x, x_rest).norm;
  Tensor sums;
  const int parts = conv2d_few_pixels_parts(maps, tensors.shortcut);
  if (parts > 0) {
    sums = empty_part_sums(y, parts);
    tensors.sums = sums.mutable_data_ptr<float>();
  }
  C10_CUDA_CHECK(conv2d_few_pixels(maps, tensors, c10::cuda::getCurrentCUDAStream()));
  if (sums.defined()) keep_part_sums(y, sums);
  return y;
}

}  // namespace ddpm::cuda
