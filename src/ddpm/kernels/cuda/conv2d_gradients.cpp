#include "ddpm/kernels/cuda/conv2d_gradients.h"

#include <ATen/ATen.h>
#include <c10/cuda/CUDAException.h>
#include <c10/cuda/CUDAStream.h>

#include <algorithm>
#include <array>

#include "ddpm/kernels/cuda/conv2d_few_channels_function.h"
#include "ddpm/kernels/cuda/conv2d_tiles.h"
#include "ddpm/kernels/optional_tensor.h"

namespace ddpm::cuda {
namespace {

constexpr std::array<int64_t, 2> kOne{1, 1}, kZero{0, 0};
constexpr int64_t kAlignedChannels = 8;  // below, cuDNN's gradient of x is slow

/// The gradient of x is a convolution, too.
WarpgroupConv turned_conv(const Tensor& d_y, const Tensor& weight) {
  return {.images = static_cast<int>(d_y.size(0)),
          .height = static_cast<int>(d_y.size(2)),
          .width = static_cast<int>(d_y.size(3)),
          .channels = static_cast<int>(weight.size(0)),
          .out_channels = static_cast<int>(weight.size(1))};
}

// An H100 with 128 images: 384 channels that came in as 32x32 maps take cuDNN 339 us and this
// kernel 177 (128: 67 and 64; 256: 108 and 120), 128 as 16x16 maps 47 and 30, 384 there 89 and 86
// (256: 55 and 57; 512: 109 and 111). Maps of 4x4 were not tried.
bool prefers_warpgroups(const WarpgroupConv& conv) {
  constexpr int kWide = 256, kLeastSide = 8;
  return conv.width >= kLeastSide && conv.out_channels % kWide != 0 &&
         std::max(conv.out_channels, conv.channels) >= kWide;
}

Tensor weight_gradient_of(const Tensor& d_y, const Tensor& x, const Tensor& weight) {
  if (has_few_channels_weight_gradient(d_y, x, weight)) {
    return few_channels_weight_gradient(d_y, x, weight);
  }
  return std::get<1>(at::convolution_backward(
      d_y, x, weight, /*bias_sizes=*/std::nullopt, /*stride=*/kOne, /*padding=*/kOne,
      /*dilation=*/kOne, /*transposed=*/false, /*output_padding=*/kZero, /*groups=*/1,
      {false, true, false}));
}

}  // namespace

Tensor turned_warpgroup_conv2d(const WarpgroupConv& conv, const Tensor& d_y, const Tensor& weight,
                               const Tensor& residual) {
  const Tensor tiles = turned_warpgroup_tiles(weight);
  const Tensor d_x = at::empty({conv.images, conv.out_channels, conv.height, conv.width},
                               d_y.options().memory_format(at::MemoryFormat::ChannelsLast));
  C10_CUDA_CHECK(conv2d_warpgroup(conv,
                                  {.x = d_y.const_data_ptr(),
                                   .weight = tiles.const_data_ptr(),
                                   .residual = data_of(residual),
                                   .out = d_x.mutable_data_ptr()},
                                  c10::cuda::getCurrentCUDAStream()));
  return d_x;
}

Tensor conv2d_input_gradient(const Tensor& d_y, const Tensor& weight) {
  if (has_few_channels_input_gradient(d_y, weight)) return few_channels_input_gradient(d_y, weight);
  if (prefers_convolution_backwards(weight, /*padding=*/1)) {
    return convolve_backwards(d_y, weight, /*padding=*/1);
  }
  const WarpgroupConv conv = turned_conv(d_y, weight);
  if (prefers_warpgroups(conv) && is_warpgroup_conv(conv)) {
    return turned_warpgroup_conv2d(conv, d_y, weight, /*residual=*/{});
  }
  return at::convolution(d_y, weight, /*bias=*/{}, /*stride=*/kOne, /*padding=*/kOne,
                         /*dilation=*/kOne, /*transposed=*/true, /*output_padding=*/kZero,
                         /*groups=*/1)
      .contiguous(at::MemoryFormat::ChannelsLast);
}

// For many images cuDNN takes kernels that are slow for many channels: with 512 images on an H100
// 1,052 us for 512 channels of 16x16 maps, and 231 for 256; with 128 images 115 and 69.
bool prefers_map_in_parts(const Tensor& d_y) {
  constexpr int64_t kManyImages = 257;
  return d_y.size(0) >= kManyImages && d_y.size(2) < 32;
}

Tensor conv2d_weight_gradient(const Tensor& d_y, const Tensor& x, const Tensor& x_rest,
                              const Tensor& weight) {
  if (!x_rest.defined()) return weight_gradient_of(d_y, x, weight);
  const int64_t channels = x.size(1);
  return at::cat(
      {weight_gradient_of(d_y, x, weight.narrow(/*dim=*/1, 0, channels)),
       weight_gradient_of(d_y, x_rest, weight.narrow(/*dim=*/1, channels, x_rest.size(1)))},
      /*dim=*/1);
}

bool prefers_convolution_backwards(const Tensor& weight, int64_t padding) {
  return weight.size(0) % kAlignedChannels != 0 && weight.size(2) == weight.size(3) &&
         weight.size(2) > padding;
}

Tensor convolve_backwards(const Tensor& d_y, const Tensor& weight, int64_t padding) {
  const Tensor turned =
      weight.flip({2, 3}).transpose(0, 1).contiguous(at::MemoryFormat::ChannelsLast);
  const int64_t rest = weight.size(2) - 1 - padding;
  return at::convolution(d_y, turned, /*bias=*/{}, /*stride=*/kOne,
                         /*padding=*/std::array<int64_t, 2>{rest, rest}, /*dilation=*/kOne,
                         /*transposed=*/false, /*output_padding=*/kZero, /*groups=*/1)
      .contiguous(at::MemoryFormat::ChannelsLast);
}

}  // namespace ddpm::cuda
