#include "ddpm/training/learning_rate.h"

#include <cmath>
#include <numbers>
#include <stdexcept>

#include "ddpm/core/check.h"

namespace ddpm {

double learning_rate(const OptimizerConfig& config, int64_t step, int64_t steps) {
  check_arg(step >= 0, "[learning_rate] step must count from 0: expected at least 0, got ", step);
  check_arg(steps >= 1, "[learning_rate] steps must be positive: expected at least 1, got ", steps);
  const int64_t warmup = config.warmup_steps;
  if (step < warmup) {
    return config.lr * static_cast<double>(step + 1) / static_cast<double>(warmup);
  }
  const int64_t decay_steps = std::max<int64_t>(steps - 1 - warmup, 1);
  const double progress =
      std::min(static_cast<double>(step - warmup) / static_cast<double>(decay_steps), 1.0);
  const double ratio = config.final_lr_ratio;
  switch (config.decay) {
    case LrDecay::kConstant:
      return config.lr;
    case LrDecay::kLinear:
      return config.lr * (1 - (1 - ratio) * progress);
    case LrDecay::kCosine:
      return config.lr * (ratio + (1 - ratio) * (1 + std::cos(std::numbers::pi * progress)) / 2);
  }
  throw std::logic_error("[learning_rate] not an LrDecay");
}

}  // namespace ddpm
