#include "ddpm/kernels/cuda/phase_weight.h"

#include <ATen/ATen.h>

namespace ddpm::cuda {
namespace {

/// [.., 3, ..] to what the first and the second phase see of it along `dim`: [.., 2, ..] each.
Tensor phases_along(const Tensor& weight, int64_t dim) {
  const auto tap = [&](int64_t i) { return weight.select(dim, i); };
  const Tensor first = at::stack({tap(0), tap(1) + tap(2)}, dim);
  const Tensor second = at::stack({tap(0) + tap(1), tap(2)}, dim);
  return at::stack({first, second});
}

}  // namespace

Tensor phase_weight(const Tensor& weight) {
  const Tensor rows = phases_along(weight, /*dim=*/2);  // [2, O, C, 2, 3]
  const Tensor phases = phases_along(rows, /*dim=*/4);  // [2, 2, O, C, 2, 2]
  return phases.transpose(0, 1).flatten(0, 2).contiguous(at::MemoryFormat::ChannelsLast);
}

}  // namespace ddpm::cuda
