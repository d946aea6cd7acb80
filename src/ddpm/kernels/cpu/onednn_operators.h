#pragma once

#include <ATen/core/List.h>
#include <ATen/core/dispatch/Dispatcher.h>

#include <array>
#include <cstdint>
#include <optional>
#include <string_view>

#include "ddpm/core/tensor.h"

/// LibTorch's operators of oneDNN, which it shows to its compiler alone.
namespace ddpm::onednn {

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

template <typename Signature>
c10::TypedOperatorHandle<Signature> operator_named(const char* name, const char* overload = "") {
  return c10::Dispatcher::singleton().findSchemaOrThrow(name, overload).typed<Signature>();
}

}  // namespace ddpm::onednn
