#include "ddpm/kernels/sampler_update.h"

#include <ATen/ATen.h>

#include "ddpm/core/check.h"

namespace ddpm {
namespace {

void check_term(const Tensor& value, const Tensor& first) {
  check_arg(value.defined(),
            "[sampler_update] a term is missing (noise, where a step takes some): expected a "
            "tensor like x, got an undefined one");
  const at::ScalarType dtype = value.scalar_type();
  check_arg(dtype == at::kFloat || dtype == at::kDouble,
            "[sampler_update] sampler states are Float or Double: expected one of them, got ",
            dtype);
  check_arg(value.sizes() == first.sizes() && dtype == first.scalar_type(),
            "[sampler_update] terms must be alike: expected ", first.sizes(), " ",
            first.scalar_type(), ", got ", value.sizes(), " ", dtype);
}

}  // namespace

Tensor sampler_update(const std::vector<UpdateTerm>& terms) {
  check_arg(!terms.empty(), "[sampler_update] terms: expected one or more, got none");
  for (const UpdateTerm& term : terms) check_term(term.value, terms.front().value);
  Tensor sum = terms.front().value * terms.front().coefficient;
  for (size_t k = 1; k < terms.size(); ++k) sum.add_(terms[k].value, terms[k].coefficient);
  return sum;
}

Tensor sampler_update(const std::vector<Tensor>& values, const Tensor& coefficients) {
  check_arg(!values.empty(), "[sampler_update] terms: expected one or more, got none");
  for (const Tensor& value : values) check_term(value, values.front());
  const Tensor& first = values.front();
  const auto num_terms = static_cast<int64_t>(values.size());
  check_arg(coefficients.dim() == 2 && coefficients.size(0) == first.size(0) &&
                coefficients.size(1) == num_terms,
            "[sampler_update] coefficients must hold one value an image and term: expected [",
            first.size(0), ", ", num_terms, "], got ", coefficients.sizes());
  std::vector<int64_t> shape(static_cast<size_t>(first.dim()), 1);
  shape[0] = first.size(0);
  const Tensor nothing = at::zeros({}, first.options());
  Tensor sum = at::zeros_like(first);
  for (int64_t k = 0; k < num_terms; ++k) {
    const Tensor each = coefficients.select(/*dim=*/1, k).to(first.scalar_type()).view(shape);
    sum.add_(at::where(each == 0, nothing, each * values[static_cast<size_t>(k)]));
  }
  return sum;
}

}  // namespace ddpm
