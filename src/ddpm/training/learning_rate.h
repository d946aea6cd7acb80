#pragma once

#include <cstdint>

#include "ddpm/config/train_config.h"

namespace ddpm {

/// The learning rate of one optimizer step: a linear rise, then the decay.
///
///     warm-up, step < W:  lr (step + 1) / W
///     after it:           p = (step - W) / (steps - 1 - W), from 0 to 1 at the last step
///         constant        lr
///         linear          lr (1 - (1 - r) p)
///         cosine          lr (r + (1 - r) (1 + cos(pi p)) / 2)
///
/// with W = warmup_steps and r = final_lr_ratio. Past the last step it stays at the end's value.
///
/// @param step  0 for the first step.
/// @param steps of the whole run.
/// @throws std::invalid_argument if step < 0 or steps < 1.
double learning_rate(const OptimizerConfig& config, int64_t step, int64_t steps);

}  // namespace ddpm
