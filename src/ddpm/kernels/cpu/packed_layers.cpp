#include <ATen/ATen.h>

#include "ddpm/kernels/cpu/onednn_operators.h"
#include "ddpm/kernels/cpu/packed_weight.h"
#include "ddpm/kernels/linear.h"
#include "ddpm/kernels/optional_tensor.h"

namespace ddpm {
namespace {

using onednn::operator_named, onednn::Scalars, onednn::Sides;

}  // namespace

Tensor packed_conv2d(const Tensor& x, const PackedWeight& weight, const Tensor& bias,
                     const Tensor& residual, int64_t stride, int64_t padding) {
  if (weight.prefers_blocks(x.size(0) * x.size(2) * x.size(3) / (stride * stride))) {
    return cpu::convolve_bf16(x, weight.blocks(), bias, residual, stride, padding);
  }
  const int64_t margin = 2 * padding - 2;
  if (weight.prefers_winograd(x.size(2) + margin, x.size(3) + margin)) {
    return cpu::convolve_winograd(x, weight.winograd(), bias, residual, padding);
  }
  static const auto plain =
      operator_named<onednn::Conv2dPointwise>("mkldnn::_convolution_pointwise");
  static const auto binary =
      operator_named<onednn::Conv2dBinary>("mkldnn::_convolution_pointwise", "binary");
  const Sides strides{stride, stride};
  const Sides paddings{padding, padding};
  const Sides dilations{1, 1};
  if (!residual.defined()) {
    return plain.call(x, weight.of_onednn(x), if_defined(bias), paddings, strides, dilations,
                      /*groups=*/1, "none", Scalars(), "");
  }
  return binary.call(x, residual, weight.of_onednn(x), if_defined(bias), paddings, strides,
                     dilations,
                     /*groups=*/1, "add", std::nullopt, std::nullopt, Scalars(), std::nullopt);
}

bool packed_weight_upsamples(const Tensor& x, const PackedWeight& weight) {
  return weight.prefers_winograd(2 * x.size(2), 2 * x.size(3));
}

Tensor packed_upsampled_conv2d(const Tensor& x, const PackedWeight& weight, const Tensor& bias) {
  return cpu::convolve_winograd(x, weight.winograd(), bias, /*residual=*/{}, /*padding=*/1,
                                /*is_upsampled=*/true);
}

int64_t packed_images_beside(const Tensor& x, const PackedWeight& weight, int64_t stride,
                             int64_t padding) {
  if (stride != 1 || !weight.prefers_blocks(x.size(0) * x.size(2) * x.size(3))) return 0;
  return cpu::images_beside_bf16(x, weight.blocks(), padding);
}

Tensor packed_padded_conv2d(const Tensor& x, const PackedWeight& weight, const Tensor& bias,
                            const Tensor& residual, int64_t padding) {
  return cpu::convolve_padded_bf16(x, weight.blocks(), bias, residual, padding);
}

Tensor packed_linear(const Tensor& x, const PackedWeight& weight, const Tensor& bias,
                     const Tensor& residual) {
  if (weight.joined().defined()) {
    return linear({.x = x, .weight = weight.joined(), .bias = bias, .residual = residual});
  }
  if (weight.prefers_blocks(x.numel() / x.size(-1))) {
    const Tensor rest = residual.defined() ? residual.contiguous() : residual;
    return cpu::multiply_bf16(x.contiguous(), weight.blocks(), bias, rest);
  }
  static const auto plain = operator_named<onednn::LinearPointwise>("mkldnn::_linear_pointwise");
  static const auto binary =
      operator_named<onednn::LinearBinary>("mkldnn::_linear_pointwise", "binary");
  if (!residual.defined())
    return plain.call(x, weight.of_onednn(x), if_defined(bias), "none", Scalars(), "");
  return binary.call(x, residual, weight.of_onednn(x), if_defined(bias), "add");
}

}  // namespace ddpm
