#pragma once

#include <cstdint>
#include <vector>

#include "ddpm/config/sample_config.h"

namespace ddpm {

/// The timesteps that a sampler visits, in the order in which it visits them. Every sampler takes
/// its steps from such a list, and the one before a timestep is its neighbour in the list.
///
///     leading:   i * (T / n)                 for i = n-1 .. 0 (integer division: ends at 0)
///     linspace:  round(i * (T-1) / (n-1))    for i = n-1 .. 0 (T-1 and 0 included)
///     trailing:  round(T - i * T / n) - 1    for i = 0 .. n-1 (begins at T-1)
///
/// Halves are rounded to the even number. n = T gives T-1 .. 0 in all three; linspace with n = 1
/// gives T-1.
///
/// @return n timesteps, strictly descending, all in [0, T).
/// @throws std::invalid_argument unless 1 <= num_steps <= num_timesteps.
std::vector<int64_t> make_timesteps(TimestepSpacing spacing, int64_t num_timesteps,
                                    int64_t num_steps);

}  // namespace ddpm
