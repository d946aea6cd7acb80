#pragma once

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include "ddpm/model/network.h"
#include "ddpm/model/state_dict.h"

namespace ddpm::testing {

/// Moves all weights of an initialised network away from zeros and ones, for a comparison in
/// float64 and eval mode.
inline void randomize(NetworkImpl& network) {
  const at::NoGradGuard no_grad;
  for (const auto& [name, tensor] : state_dict(network)) {
    tensor.add_(at::randn_like(tensor), tensor.dim() == 1 ? 0.3 : 0.05);
  }
  network.to(at::kDouble);
  network.eval();
}

}  // namespace ddpm::testing
