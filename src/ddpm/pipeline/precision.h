#pragma once

#include "ddpm/config/train_config.h"
#include "ddpm/core/tensor.h"

namespace ddpm {

/// What kAuto means on a device; the others are themselves.
Precision resolve_precision(Precision precision, at::Device device);

/// Of a run, on its device. @throws what select_device does.
Precision resolve_precision(const TrainConfig& config);

/// Of a network's weights and maps.
///
/// @throws std::logic_error for kAuto, which resolve_precision turns into another.
at::ScalarType dtype_of(Precision precision);

}  // namespace ddpm
