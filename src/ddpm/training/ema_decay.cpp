#include "ddpm/training/ema_decay.h"

#include <cmath>
#include <stdexcept>

#include "ddpm/core/check.h"

namespace ddpm {

double ema_decay(const EmaConfig& config, int64_t step) {
  check_arg(step >= 0, "[ema_decay] step must count from 0: expected at least 0, got ", step);
  switch (config.kind) {
    case EmaKind::kFixed:
      return config.decay;
    case EmaKind::kWarmup:
      return std::min(config.decay,
                      1 - std::pow(1 + static_cast<double>(step), -config.warmup_power));
  }
  throw std::logic_error("[ema_decay] not an EmaKind");
}

}  // namespace ddpm
