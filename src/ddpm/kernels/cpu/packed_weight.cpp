#include "ddpm/kernels/cpu/packed_weight.h"

#include <ATen/ATen.h>
#include <ATen/core/List.h>
#include <ATen/core/dispatch/Dispatcher.h>
#include <ATen/core/grad_mode.h>

#include <array>
#include <optional>
#include <string_view>

#include "ddpm/core/device.h"

namespace ddpm {
namespace {

using Scalars = c10::List<std::optional<at::Scalar>>;
using Word = std::optional<c10::string_view>;
using Sides = std::array<int64_t, 2>;
using OptionalTensor = std::optional<Tensor>;

using ReorderConv2d = Tensor(const Tensor&, at::IntArrayRef, at::IntArrayRef, at::IntArrayRef,
                             int64_t, c10::OptionalArrayRef<int64_t>);
using ReorderLinear = Tensor(const Tensor&, std::optional<int64_t>);
using Conv2dPointwise = Tensor(const Tensor&, const Tensor&, const OptionalTensor&, at::IntArrayRef,
                               at::IntArrayRef, at::IntArrayRef, int64_t, c10::string_view, Scalars,
                               Word);
using Conv2dBinary = Tensor(const Tensor&, const Tensor&, const Tensor&, const OptionalTensor&,
                            at::IntArrayRef, at::IntArrayRef, at::IntArrayRef, int64_t,
                            c10::string_view, std::optional<at::Scalar>, Word, Scalars, Word);
using LinearPointwise = Tensor(const Tensor&, const Tensor&, const OptionalTensor&,
                               c10::string_view, Scalars, Word);
using LinearBinary = Tensor(const Tensor&, const Tensor&, const Tensor&, const OptionalTensor&,
                            c10::string_view);

/// LibTorch's operators of oneDNN, which it shows to its compiler alone.
template <typename Signature>
c10::TypedOperatorHandle<Signature> operator_named(const char* name, const char* overload = "") {
  return c10::Dispatcher::singleton().findSchemaOrThrow(name, overload).typed<Signature>();
}

/// Only x86 has been measured.
bool has_packed_kernels(const Tensor& weight) {
#if defined(__x86_64__)
  if (!weight.is_cpu() || !at::globalContext().hasMKLDNN() ||
      !at::globalContext().userEnabledMkldnn()) {
    return false;
  }
  return weight.scalar_type() == at::kFloat ||
         (weight.scalar_type() == at::kBFloat16 && cpu_computes_bf16());
#else
  static_cast<void>(weight);
  return false;
#endif
}

OptionalTensor given(const Tensor& tensor) {
  return tensor.defined() ? OptionalTensor(tensor) : std::nullopt;
}

}  // namespace

PackedWeight::PackedWeight(const std::vector<Tensor>& weights) {
  for (const Tensor& weight : weights) sources_.push_back({weight.detach(), weight._version()});
}

PackedWeight PackedWeight::of_conv2d(const Tensor& weight, int64_t stride, int64_t padding) {
  if (!has_packed_kernels(weight)) return {};
  const at::NoGradGuard no_grad;
  PackedWeight result({weight});
  if (cpu::has_bf16_blocks(weight)) {
    result.blocks_ = cpu::bf16_blocks_of(weight);
  } else {
    static const auto reorder =
        operator_named<ReorderConv2d>("mkldnn::_reorder_convolution_weight");
    result.of_onednn_ =
        reorder.call(weight, Sides{padding, padding}, Sides{stride, stride}, Sides{1, 1},
                     /*groups=*/1, /*input_size=*/std::nullopt);
  }
  return result;
}

PackedWeight PackedWeight::of_linear(const std::vector<Tensor>& weights) {
  for (const Tensor& weight : weights) {
    if (!has_packed_kernels(weight)) return {};
  }
  const at::NoGradGuard no_grad;
  const Tensor whole = at::cat(weights);
  PackedWeight result(weights);
  if (cpu::has_bf16_blocks(whole)) {
    result.blocks_ = cpu::bf16_blocks_of(whole.unsqueeze(2).unsqueeze(3));
  } else {
    static const auto reorder = operator_named<ReorderLinear>("mkldnn::_reorder_linear_weight");
    result.of_onednn_ = reorder.call(whole, /*batch_size=*/std::nullopt);
  }
  return result;
}

bool PackedWeight::is_of(const std::vector<Tensor>& weights) const {
  if (sources_.empty() || weights.size() != sources_.size()) return false;
  for (size_t i = 0; i < weights.size(); ++i) {
    const Tensor& memory = sources_[i].memory;
    if (weights[i].const_data_ptr() != memory.const_data_ptr() ||
        weights[i].scalar_type() != memory.scalar_type() ||
        weights[i]._version() != sources_[i].version) {
      return false;
    }
  }
  return true;
}

Tensor packed_conv2d(const Tensor& x, const PackedWeight& weight, const Tensor& bias,
                     const Tensor& residual, int64_t stride, int64_t padding) {
  if (weight.blocks().blocks.defined()) {
    return cpu::convolve_bf16(x, weight.blocks(), bias, residual, stride, padding);
  }
  static const auto plain = operator_named<Conv2dPointwise>("mkldnn::_convolution_pointwise");
  static const auto binary =
      operator_named<Conv2dBinary>("mkldnn::_convolution_pointwise", "binary");
  const Sides strides{stride, stride};
  const Sides paddings{padding, padding};
  const Sides dilations{1, 1};
  if (!residual.defined()) {
    return plain.call(x, weight.of_onednn(), given(bias), paddings, strides, dilations,
                      /*groups=*/1, "none", Scalars(), "");
  }
  return binary.call(x, residual, weight.of_onednn(), given(bias), paddings, strides, dilations,
                     /*groups=*/1, "add", std::nullopt, std::nullopt, Scalars(), std::nullopt);
}

Tensor packed_linear(const Tensor& x, const PackedWeight& weight, const Tensor& bias,
                     const Tensor& residual) {
  if (weight.blocks().blocks.defined()) {
    const Tensor rest = residual.defined() ? residual.contiguous() : residual;
    return cpu::multiply_bf16(x.contiguous(), weight.blocks(), bias, rest);
  }
  static const auto plain = operator_named<LinearPointwise>("mkldnn::_linear_pointwise");
  static const auto binary = operator_named<LinearBinary>("mkldnn::_linear_pointwise", "binary");
  if (!residual.defined())
    return plain.call(x, weight.of_onednn(), given(bias), "none", Scalars(), "");
  return binary.call(x, residual, weight.of_onednn(), given(bias), "add");
}

}  // namespace ddpm
