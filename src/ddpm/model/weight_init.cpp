#include "ddpm/model/weight_init.h"

#include <cmath>
#include <stdexcept>

namespace ddpm {
namespace {

constexpr double kXavierLastGain = 1e-5;
constexpr double kXavierAttentionVariance = 0.2;

}  // namespace

LayerInit plain_init(WeightInit scheme) {
  return {.xavier = scheme == WeightInit::kXavier, .gain = 1.0};
}

LayerInit last_init(WeightInit scheme) {
  switch (scheme) {
    case WeightInit::kPyTorch:
      return {};
    case WeightInit::kZeroResidual:
      return {.xavier = false, .gain = 0.0};
    case WeightInit::kXavier:
      return {.xavier = true, .gain = kXavierLastGain};
  }
  throw std::logic_error("[last_init] not a WeightInit");
}

LayerInit attention_init(WeightInit scheme) {
  if (scheme != WeightInit::kXavier) return plain_init(scheme);
  // C -> 3C together has fan_in + fan_out = 4C; C -> C alone has 2C.
  return {.xavier = true, .gain = std::sqrt(kXavierAttentionVariance * 2.0 / 4.0)};
}

}  // namespace ddpm
