#include "ddpm/kernels/sampler_update.h"

#include <ATen/ATen.h>
#include <ATen/Dispatch.h>
#include <ATen/Parallel.h>

#include <algorithm>
#include <utility>

#include "ddpm/core/check.h"
#ifdef DDPM_CUDA
#include "ddpm/kernels/cuda/sampler_update_function.h"
#endif

namespace ddpm {
namespace {

constexpr int64_t kGrain = 32768;  // elements of a thread's part

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

/// A value with its coefficient in each image.
struct Column {
  Tensor value;
  std::vector<double> coefficients = {};

  bool counts() const {
    return std::any_of(coefficients.begin(), coefficients.end(), [](double c) { return c != 0; });
  }
};

/// On the CPU: one pass over an image's terms while they lie in its cache.
template <typename Scalar>
Tensor add_rows(std::vector<Column>& columns, const Tensor& first) {
  for (Column& column : columns) column.value = column.value.contiguous();
  const Tensor sum = at::zeros(first.sizes(), first.options());
  Scalar* const out = sum.mutable_data_ptr<Scalar>();
  const int64_t elements = sum.numel() / std::max(first.size(0), int64_t{1});
  const int64_t grain = std::max(kGrain / std::max(elements, int64_t{1}), int64_t{1});
  at::parallel_for(0, first.size(0), grain, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      Scalar* const row = out + i * elements;
      for (const Column& column : columns) {
        const auto c = static_cast<Scalar>(column.coefficients[static_cast<size_t>(i)]);
        if (c == 0) continue;
        const Scalar* const value = column.value.const_data_ptr<Scalar>() + i * elements;
        for (int64_t j = 0; j < elements; ++j) row[j] += c * value[j];
      }
    }
  });
  return sum;
}

#ifdef DDPM_CUDA
Tensor update_on_gpu(const std::vector<UpdateTerm>& terms) {
  std::vector<Tensor> values;
  std::vector<double> coefficients;
  for (const UpdateTerm& term : terms) values.push_back(term.value);
  for (int64_t i = 0; i < values.front().size(0); ++i) {
    for (const UpdateTerm& term : terms) coefficients.push_back(term.coefficient);
  }
  return cuda::fused_sampler_update(values, coefficients);
}

Tensor update_on_gpu(const std::vector<Column>& columns) {
  std::vector<Tensor> values;
  std::vector<double> coefficients;
  for (const Column& column : columns) values.push_back(column.value);
  for (size_t i = 0; i < columns.front().coefficients.size(); ++i) {
    for (const Column& column : columns) coefficients.push_back(column.coefficients[i]);
  }
  return cuda::fused_sampler_update(values, coefficients);
}
#endif

}  // namespace

Tensor sampler_update(const std::vector<UpdateTerm>& terms) {
  check_arg(!terms.empty(), "[sampler_update] terms: expected one or more, got none");
  for (const UpdateTerm& term : terms) check_term(term.value, terms.front().value);
#ifdef DDPM_CUDA
  if (terms.front().value.is_cuda()) return update_on_gpu(terms);
#endif
  Tensor sum = terms.front().value * terms.front().coefficient;
  for (size_t k = 1; k < terms.size(); ++k) sum.add_(terms[k].value, terms[k].coefficient);
  return sum;
}

Tensor sampler_update(const std::vector<Tensor>& values, at::ArrayRef<double> coefficients) {
  check_arg(!values.empty(), "[sampler_update] terms: expected one or more, got none");
  const Tensor& first = values.front();
  check_term(first, first);
  const auto num_terms = static_cast<int64_t>(values.size());
  check_arg(static_cast<int64_t>(coefficients.size()) == first.size(0) * num_terms,
            "[sampler_update] coefficients must be one an image and term: expected ", first.size(0),
            " * ", num_terms, ", got ", coefficients.size());
  std::vector<Column> columns;
  for (size_t k = 0; k < values.size(); ++k) {
    Column column{.value = values[k]};
    for (size_t i = k; i < coefficients.size(); i += values.size())
      column.coefficients.push_back(coefficients[i]);
    if (!column.counts()) continue;
    check_term(column.value, first);
    columns.push_back(std::move(column));
  }
  if (columns.empty()) return at::zeros_like(first);
#ifdef DDPM_CUDA
  if (first.is_cuda()) return update_on_gpu(columns);
#endif
  return AT_DISPATCH_FLOATING_TYPES(first.scalar_type(), "sampler_update",
                                    [&] { return add_rows<scalar_t>(columns, first); });
}

}  // namespace ddpm
