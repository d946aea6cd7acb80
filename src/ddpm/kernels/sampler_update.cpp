#include "ddpm/kernels/sampler_update.h"

#include <ATen/ATen.h>
#include <ATen/Dispatch.h>
#include <ATen/Parallel.h>

#include <algorithm>
#include <array>
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

/// On the CPU: summed in double, rounded once, some elements of an image after the others.
template <typename Scalar>
Tensor add_rows(std::vector<Column>& columns, const Tensor& first) {
  constexpr int64_t kAtOnce = 512;
  for (Column& column : columns) column.value = column.value.contiguous();
  const Tensor sum = at::empty(first.sizes(), first.options());
  Scalar* const out = sum.mutable_data_ptr<Scalar>();
  const int64_t elements = sum.numel() / std::max(first.size(0), int64_t{1});
  const auto add_part = [&](int64_t image, int64_t begin, int64_t count) {
    std::array<double, kAtOnce> sums{};
    for (const Column& column : columns) {
      const double c = column.coefficients[static_cast<size_t>(image)];
      if (c == 0) continue;
      const Scalar* const value = column.value.const_data_ptr<Scalar>() + image * elements + begin;
      for (int64_t j = 0; j < count; ++j)
        sums[static_cast<size_t>(j)] += c * static_cast<double>(value[j]);
    }
    Scalar* const part = out + image * elements + begin;
    for (int64_t j = 0; j < count; ++j) {
      part[j] = static_cast<Scalar>(sums[static_cast<size_t>(j)]);
    }
  };
  const int64_t grain = std::max(kGrain / std::max(elements, int64_t{1}), int64_t{1});
  at::parallel_for(0, first.size(0), grain, [&](int64_t begin, int64_t end) {
    for (int64_t image = begin; image < end; ++image) {
      for (int64_t j = 0; j < elements; j += kAtOnce) {
        add_part(image, j, std::min(kAtOnce, elements - j));
      }
    }
  });
  return sum;
}

#ifdef DDPM_CUDA
Tensor update_on_gpu(const std::vector<Column>& columns, double clip_range) {
  std::vector<Tensor> values;
  std::vector<double> coefficients;
  for (const Column& column : columns) values.push_back(column.value);
  for (size_t i = 0; i < columns.front().coefficients.size(); ++i) {
    for (const Column& column : columns) coefficients.push_back(column.coefficients[i]);
  }
  return cuda::fused_sampler_update(values, coefficients, clip_range);
}
#endif

}  // namespace

Tensor sampler_update(const std::vector<UpdateTerm>& terms, double clip_range) {
  check_arg(!terms.empty(), "[sampler_update] terms: expected one or more, got none");
  std::vector<Tensor> values;
  for (const UpdateTerm& term : terms) {
    check_term(term.value, terms.front().value);
    values.push_back(term.value);
  }
  std::vector<double> coefficients;
  for (int64_t image = 0; image < values.front().size(0); ++image) {
    for (const UpdateTerm& term : terms) coefficients.push_back(term.coefficient);
  }
  return sampler_update(values, coefficients, clip_range);
}

Tensor sampler_update(const std::vector<Tensor>& values, at::ArrayRef<double> coefficients,
                      double clip_range) {
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
  if (first.is_cuda()) return update_on_gpu(columns, clip_range);
#endif
  const Tensor sum = AT_DISPATCH_FLOATING_TYPES(first.scalar_type(), "sampler_update",
                                                [&] { return add_rows<scalar_t>(columns, first); });
  return clip_range == kUnclipped ? sum : sum.clamp_(-clip_range, clip_range);
}

}  // namespace ddpm
