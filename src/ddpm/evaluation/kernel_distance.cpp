#include "ddpm/evaluation/kernel_distance.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <vector>

#include "ddpm/core/check.h"
#include "ddpm/core/send_to_device.h"
#include "ddpm/data/permutation.h"

namespace ddpm {
namespace {

void check_kernel_inputs(const Tensor& samples, const Tensor& reference,
                         const KernelDistanceOptions& options) {
  check_arg(samples.dim() == 2 && reference.dim() == 2 && samples.size(1) > 0 &&
                samples.size(1) == reference.size(1),
            "[kernel_distance] features: expected [N, F] and [M, F], got ", samples.sizes(),
            " and ", reference.sizes());
  check_arg(options.num_subsets >= 1, "[kernel_distance] num_subsets: expected at least 1, got ",
            options.num_subsets);
  const int64_t most = std::min(samples.size(0), reference.size(0));
  check_arg(options.subset_size >= 2 && options.subset_size <= most,
            "[kernel_distance] subset_size: expected from 2 to the ", most,
            " images of the smaller set, got ", options.subset_size);
}

/// Rows of a random subset, in float64. `draw` tells subsets apart.
Tensor random_rows(const Tensor& features, const KernelDistanceOptions& options, uint64_t draw) {
  const Tensor index = at::empty({options.subset_size}, at::kLong);
  auto* place = index.mutable_data_ptr<int64_t>();
  for (int64_t i = 0; i < options.subset_size; ++i) {
    place[i] = permuted_index(options.seed, draw, i, features.size(0));
  }
  return features.index_select(/*dim=*/0, send_to_device(index, features.device())).to(at::kDouble);
}

Tensor cubic_kernel(const Tensor& x, const Tensor& y) {
  return (x.mm(y.t()) / static_cast<double>(x.size(1)) + 1).pow(3);
}

Tensor mean_off_diagonal(const Tensor& kernel) {
  const auto size = static_cast<double>(kernel.size(0));
  return (kernel.sum() - kernel.trace()) / (size * (size - 1));
}

}  // namespace

KernelDistance kernel_distance(const Tensor& samples, const Tensor& reference,
                               const KernelDistanceOptions& options) {
  check_kernel_inputs(samples, reference, options);
  std::vector<Tensor> distances;
  for (int64_t subset = 0; subset < options.num_subsets; ++subset) {
    const auto draw = static_cast<uint64_t>(2 * subset);
    const Tensor x = random_rows(samples, options, draw);
    const Tensor y = random_rows(reference, options, draw + 1);
    distances.push_back(mean_off_diagonal(cubic_kernel(x, x)) +
                        mean_off_diagonal(cubic_kernel(y, y)) - 2 * cubic_kernel(x, y).mean());
  }
  const Tensor all = at::stack(distances).cpu();
  return {.mean = all.mean().item<double>(),
          .deviation = options.num_subsets > 1 ? all.std().item<double>() : 0};
}

}  // namespace ddpm
