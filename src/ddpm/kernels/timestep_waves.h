#pragma once

#include <cstdint>

#include "ddpm/core/tensor.h"

namespace ddpm {

/// Which waves, and how they lie in a row.
struct TimestepWavesOptions {
  int64_t size = 128;                 ///< Of a row.
  bool cos_first = true;              ///< true: [cos, sin]; false: [sin, cos].
  int64_t freq_shift = 0;             ///< Less than size / 2.
  double scale = 1.0;                 ///< Multiplies t.
  at::ScalarType dtype = at::kFloat;  ///< What they are computed in.
};

/// Waves of timesteps:
///
///     w_i = 10000^(-i / (half - freq_shift)),  i = 0 .. half - 1,  half = size / 2
///     [sin(s t w), cos(s t w)], s = scale, or the other way round; an odd size ends with a 0
///
/// @param t [N] int64 or float.
/// @return  [N, size] of `rounded_to`.
Tensor timestep_waves(const Tensor& t, const TimestepWavesOptions& options,
                      at::ScalarType rounded_to);

}  // namespace ddpm
