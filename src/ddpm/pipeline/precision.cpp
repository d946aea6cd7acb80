#include "ddpm/pipeline/precision.h"

#include <stdexcept>

#include "ddpm/core/device.h"

namespace ddpm {

Precision resolve_precision(Precision precision, at::Device device) {
  if (precision != Precision::kAuto) return precision;
  return prefers_bf16(device) ? Precision::kBf16 : Precision::kFp32;
}

Precision resolve_precision(const TrainConfig& config) {
  return resolve_precision(config.precision, select_device(config.device));
}

at::ScalarType dtype_of(Precision precision) {
  switch (precision) {
    case Precision::kFp32:
      return at::kFloat;
    case Precision::kBf16:
      return at::kBFloat16;
    case Precision::kAuto:
      break;
  }
  throw std::logic_error("[dtype_of] not a resolved Precision");
}

}  // namespace ddpm
