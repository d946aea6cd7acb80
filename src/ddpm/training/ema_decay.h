#pragma once

#include <cstdint>

#include "ddpm/config/train_config.h"

namespace ddpm {

/// The decay d of one step's ema = d * ema + (1 - d) * weights.
///
///     fixed:   decay
///     warmup:  min(decay, 1 - (1 + step)^-warmup_power)
///
/// Warmed up, the first step takes the weights whole, so that the start leaves no trace.
///
/// @param step 0 for the first step.
/// @throws std::invalid_argument if step < 0.
double ema_decay(const EmaConfig& config, int64_t step);

}  // namespace ddpm
