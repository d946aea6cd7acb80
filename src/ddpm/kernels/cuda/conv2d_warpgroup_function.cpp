#include "ddpm/kernels/cuda/conv2d_warpgroup_function.h"

#include <ATen/ATen.h>
#include <c10/cuda/CUDAException.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>

#include <optional>

#include "ddpm/kernels/cpu/packed_weight.h"
#include "ddpm/kernels/cuda/conv2d_tiles.h"
#include "ddpm/kernels/cuda/conv2d_warpgroup_kernels.h"
#include "ddpm/kernels/cuda/group_norm_sums_kernels.h"
#include "ddpm/kernels/cuda/map_part_sums.h"
#include "ddpm/kernels/cuda/pixel_product_function.h"
#include "ddpm/kernels/group_norm_silu.h"
#include "ddpm/kernels/optional_tensor.h"

namespace ddpm::cuda {
namespace {

constexpr int64_t kTileOut = 128, kTilePixels = 256;
constexpr int64_t kKernel = 3;
// Fewer leave most multiprocessors idle. Of 8x8 maps, which have smaller tiles for that, 32 images
// are enough: a denoising step of them takes an H100 1.36 ms with this kernel and 1.39 without.
constexpr int64_t kFewestTiles = 30, kFewestSmallTiles = 15;
constexpr int64_t kFour = 4, kEight = 8;     // pixels of a small map's side
constexpr int64_t kFewestImagesOfFour = 16;  // fewer are faster by conv2d_few_pixels_function.h

int channels_in(const Tensor& map) { return map.defined() ? static_cast<int>(map.size(1)) : 0; }

/// The tiles as they are to be used; undefined if they were not packed before.
Tensor packed_tiles(const Conv2dArgs& args) {
  if (args.packed == nullptr || !args.packed->is_of({args.weight})) return {};
  return args.upsampled ? args.packed->phase_tiles() : args.packed->tiles();
}
/// Those of an upsampled map's phases are packed once or not at all.
bool has_tiles(const Conv2dArgs& args) {
  return packed_tiles(args).defined() || (!args.upsampled && has_warpgroup_tiles(args.weight));
}
Tensor tiles_for(const Conv2dArgs& args) {
  const Tensor packed = packed_tiles(args);
  return packed.defined() ? packed : warpgroup_tiles(args.weight);
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
           has(args.norm->time_embedding, {conv.images, in}) &&
           has(args.norm->scale, {conv.images, in}) && has(args.norm->shift, {conv.images, in})));
}

bool has_enough_pixels(const WarpgroupConv& conv) {
  if (conv.width == kFour) return conv.images >= kFewestImagesOfFour;
  const int64_t pixels = int64_t{conv.images} * conv.height * conv.width;
  const int64_t fewest = conv.width == kEight ? kFewestSmallTiles : kFewestTiles;
  return pixels * conv.out_channels >= fewest * kTilePixels * kTileOut;
}

bool takes_shortcut(const Conv2dArgs& side, const Conv2dArgs& args) {
  return is_pixel_product(side) && has_tiles(side) && fits_types(side) && !side.bias.defined() &&
         !side.residual.defined() && side.norm == nullptr && side.shortcut == nullptr &&
         !args.residual.defined() && side.weight.size(0) == args.weight.size(0) &&
         side.x.size(0) == args.x.size(0) && side.x.sizes().slice(2) == args.x.sizes().slice(2);
}

/// The norm of what goes in, which has rows unless the kernel takes its sums.
struct Norm {
  std::optional<NormInputs> inputs;
  Tensor rows;
};

/// @param args with a norm.
Norm norm_of(const Conv2dArgs& args, const WarpgroupConv& conv, const Tensor& x,
             const Tensor& x_rest, NormStatistics* statistics) {
  Norm norm;
  NormInputs& inputs = norm.inputs.emplace(*args.norm, x, x_rest);
  if (statistics != nullptr) inputs.ask_for(*statistics);
  if (!takes_norm_from_sums(conv, inputs.from)) norm.rows = norm_rows(inputs);
  return norm;
}

}  // namespace

bool is_warpgroup_conv2d(const Conv2dArgs& args) {
  if (!args.x.is_cuda() || args.transposed || args.stride != 1 || args.padding != 1 ||
      args.weight.size(2) != kKernel || !has_tiles(args) || !fits_types(args)) {
    return false;
  }
  if (args.bias.defined() && args.image_bias.defined()) return false;
  if (args.image_bias.defined() && args.image_bias.stride(1) != 1) return false;
  if (args.norm != nullptr &&
      (args.upsampled || !args.norm->silu ||
       !has_norm_rows(*args.norm, channels_in(args.x) + channels_in(args.x_rest)))) {
    return false;
  }
  if (args.shortcut != nullptr && !takes_shortcut(*args.shortcut, args)) return false;
  const c10::cuda::CUDAGuard guard(args.x.device());
  const WarpgroupConv conv = warpgroup_shape(args);
  return fits_shapes(args, conv) && is_warpgroup_conv(conv) && has_enough_pixels(conv);
}

Tensor warpgroup_conv2d(const Conv2dArgs& args, NormStatistics* statistics) {
  const c10::cuda::CUDAGuard guard(args.x.device());
  const WarpgroupConv conv = warpgroup_shape(args);
  const Tensor x = channels_last(args.x), x_rest = channels_last(args.x_rest);
  const Tensor residual = channels_last(args.residual);
  const Tensor tiles = tiles_for(args);
  const Norm norm = args.norm != nullptr ? norm_of(args, conv, x, x_rest, statistics) : Norm();
  const Tensor y = at::empty({conv.images, conv.out_channels, conv.height, conv.width},
                             x.options().memory_format(at::MemoryFormat::ChannelsLast));
  const Tensor sums = empty_part_sums(y, conv2d_warpgroup_parts(conv));
  WarpgroupConvTensors tensors{
      .x = x.const_data_ptr(),
      .x_rest = data_of(x_rest),
      .norm = norm.rows.defined() ? norm.rows.const_data_ptr<float>() : nullptr,
      .weight = tiles.const_data_ptr(),
      .bias = data_of(args.image_bias.defined() ? args.image_bias : args.bias),
      .bias_stride = args.image_bias.defined() ? args.image_bias.stride(0) : 0,
      .more_bias = data_of(args.residual_bias),
      .residual = data_of(residual),
      .out = y.mutable_data_ptr(),
      .sums = sums.mutable_data_ptr<float>()};
  if (norm.inputs.has_value() && !norm.rows.defined()) tensors.norm_from = norm.inputs->from;
  Tensor side, side_rest, side_tiles;
  if (args.shortcut != nullptr) {
    side = channels_last(args.shortcut->x);
    side_rest = channels_last(args.shortcut->x_rest);
    tensors.side = side.const_data_ptr();
    tensors.side_rest = data_of(side_rest);
    side_tiles = tiles_for(*args.shortcut);
    tensors.side_weight = side_tiles.const_data_ptr();
  }
  C10_CUDA_CHECK(conv2d_warpgroup(conv, tensors, c10::cuda::getCurrentCUDAStream()));
  keep_part_sums(y, sums);
  return y;
}

}  // namespace ddpm::cuda
