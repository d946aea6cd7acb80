#include "ddpm/kernels/cuda/conv2d_warpgroup_function.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <c10/cuda/CUDAException.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>

#include "ddpm/core/check.h"
#include "ddpm/kernels/cpu/packed_weight.h"
#include "ddpm/kernels/cuda/conv2d_warpgroup_kernels.h"
#include "ddpm/kernels/cuda/group_norm_sums_kernels.h"
#include "ddpm/kernels/cuda/map_part_sums.h"
#include "ddpm/kernels/cuda/pixel_product_function.h"
#include "ddpm/kernels/group_norm_silu.h"

namespace ddpm::cuda {
namespace {

constexpr int64_t kTileOut = 128, kTileIn = 32, kTileParts = 4, kTapsDim = 2;
constexpr int64_t kKernel = 3;
constexpr int64_t kPhaseSide = 2;  // of the kernel of one phase of an upsampled map
constexpr int64_t kTilePixels = 256;
constexpr int64_t kFewestTiles = 30;  // fewer leave most multiprocessors idle

const void* pointer_to(const Tensor& tensor) {
  return tensor.defined() ? tensor.const_data_ptr() : nullptr;
}
Tensor dense_map(const Tensor& map) {
  return map.defined() ? map.contiguous(at::MemoryFormat::ChannelsLast) : map;
}
int channels_in(const Tensor& map) { return map.defined() ? static_cast<int>(map.size(1)) : 0; }

/// Packed as it is to be used.
bool has_tiles(const Conv2dArgs& args) {
  if (args.packed == nullptr || !args.packed->is_of({args.weight})) return false;
  const Tensor& tiles = args.packed->tiles();
  const int64_t side = args.upsampled ? kPhaseSide : args.weight.size(2);
  return tiles.defined() && tiles.size(kTapsDim) == side * side;
}

/// Everything is bf16 on one GPU.
bool fits_types(const Conv2dArgs& args) {
  for (const Tensor* tensor :
       {&args.x, &args.x_rest, &args.bias, &args.residual, &args.residual_bias, &args.image_bias}) {
    if (tensor->defined() && (!tensor->is_cuda() || tensor->scalar_type() != at::kBFloat16)) {
      return false;
    }
  }
  return true;
}

WarpgroupConv warpgroup_shape(const Conv2dArgs& args) {
  const int64_t times = args.upsampled ? 2 : 1;
  WarpgroupConv conv{.images = static_cast<int>(args.x.size(0)),
                     .height = static_cast<int>(args.x.size(2) * times),
                     .width = static_cast<int>(args.x.size(3) * times),
                     .channels = channels_in(args.x),
                     .rest_channels = channels_in(args.x_rest),
                     .out_channels = static_cast<int>(args.weight.size(0)),
                     .upsampled = args.upsampled};
  if (args.shortcut != nullptr) {
    conv.side_channels = channels_in(args.shortcut->x);
    conv.side_rest = channels_in(args.shortcut->x_rest);
  }
  return conv;
}

/// What does not is refused elsewhere.
bool fits_shapes(const Conv2dArgs& args, const WarpgroupConv& conv) {
  const auto has = [](const Tensor& tensor, at::IntArrayRef sizes) {
    return !tensor.defined() || tensor.sizes() == sizes;
  };
  const int64_t in = conv.channels + conv.rest_channels, out = conv.out_channels;
  return args.weight.size(1) == in && has(args.bias, {out}) && has(args.residual_bias, {out}) &&
         has(args.image_bias, {conv.images, out}) &&
         has(args.residual, {conv.images, out, conv.height, conv.width}) &&
         (!args.x_rest.defined() || (args.x_rest.size(0) == args.x.size(0) &&
                                     args.x_rest.sizes().slice(2) == args.x.sizes().slice(2))) &&
         (args.norm == nullptr ||
          (has(args.norm->weight, {in}) && has(args.norm->bias, {in}) &&
           has(args.norm->scale, {conv.images, in}) && has(args.norm->shift, {conv.images, in})));
}

bool takes_shortcut(const Conv2dArgs& side, const Conv2dArgs& args) {
  return is_pixel_product(side) && has_tiles(side) && fits_types(side) && !side.bias.defined() &&
         !side.residual.defined() && side.norm == nullptr && side.shortcut == nullptr &&
         !args.residual.defined() && side.weight.size(0) == args.weight.size(0) &&
         side.x.size(0) == args.x.size(0) && side.x.sizes().slice(2) == args.x.sizes().slice(2);
}

}  // namespace

bool is_warpgroup_conv2d(const Conv2dArgs& args) {
  if (at::GradMode::is_enabled() || !args.x.is_cuda() || args.transposed || args.stride != 1 ||
      args.padding != 1 || args.weight.size(2) != kKernel || !has_tiles(args) ||
      !fits_types(args)) {
    return false;
  }
  if (args.bias.defined() && args.image_bias.defined()) return false;
  if (args.image_bias.defined() && args.image_bias.stride(1) != 1) return false;
  if (args.norm != nullptr &&
      (args.upsampled ||
       !has_norm_rows(*args.norm, channels_in(args.x) + channels_in(args.x_rest)))) {
    return false;
  }
  if (args.shortcut != nullptr && !takes_shortcut(*args.shortcut, args)) return false;
  const c10::cuda::CUDAGuard guard(args.x.device());
  const WarpgroupConv conv = warpgroup_shape(args);
  const int64_t pixels = int64_t{conv.images} * conv.height * conv.width;
  return fits_shapes(args, conv) && is_warpgroup_conv(conv) &&
         pixels * conv.out_channels >= kFewestTiles * kTilePixels * kTileOut;
}

Tensor warpgroup_conv2d(const Conv2dArgs& args) {
  const c10::cuda::CUDAGuard guard(args.x.device());
  const WarpgroupConv conv = warpgroup_shape(args);
  const Tensor x = dense_map(args.x), x_rest = dense_map(args.x_rest);
  const Tensor residual = dense_map(args.residual);
  const Tensor norm = args.norm != nullptr ? norm_rows(*args.norm, x, x_rest) : Tensor();
  const Tensor y = at::empty({conv.images, conv.out_channels, conv.height, conv.width},
                             x.options().memory_format(at::MemoryFormat::ChannelsLast));
  const Tensor sums =
      at::empty({conv.images, conv.height * conv.width / kSumPixels, conv.out_channels, 2},
                x.options().memory_format(std::nullopt).dtype(at::kFloat));
  WarpgroupConvTensors tensors{
      .x = x.const_data_ptr(),
      .x_rest = pointer_to(x_rest),
      .norm = norm.defined() ? norm.const_data_ptr<float>() : nullptr,
      .weight = args.packed->tiles().const_data_ptr(),
      .bias = pointer_to(args.image_bias.defined() ? args.image_bias : args.bias),
      .bias_stride = args.image_bias.defined() ? args.image_bias.stride(0) : 0,
      .more_bias = pointer_to(args.residual_bias),
      .residual = pointer_to(residual),
      .out = y.mutable_data_ptr(),
      .sums = sums.mutable_data_ptr<float>()};
  Tensor side, side_rest;
  if (args.shortcut != nullptr) {
    side = dense_map(args.shortcut->x);
    side_rest = dense_map(args.shortcut->x_rest);
    tensors.side = side.const_data_ptr();
    tensors.side_rest = pointer_to(side_rest);
    tensors.side_weight = args.shortcut->packed->tiles().const_data_ptr();
  }
  C10_CUDA_CHECK(conv2d_warpgroup(conv, tensors, c10::cuda::getCurrentCUDAStream()));
  keep_part_sums(y, sums);
  return y;
}

Tensor warpgroup_tiles(const Tensor& weight) {
  const int64_t out = weight.size(0), in = weight.size(1), side = weight.size(2);
  if (weight.scalar_type() != at::kBFloat16 || side > 3 || weight.size(3) != side ||
      out % kTileOut != 0 || in % kTileIn != 0) {
    return {};
  }
  const c10::cuda::CUDAGuard guard(weight.device());
  if (!device_has_warpgroup_conv()) return {};
  const at::NoGradGuard no_grad;
  return weight.contiguous()
      .view({out / kTileOut, kTileOut, in / kTileIn, kTileParts, kTileIn / kTileParts, side * side})
      .permute({0, 2, 5, 3, 1, 4})
      .contiguous();
}

}  // namespace ddpm::cuda
