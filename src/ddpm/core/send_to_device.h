#pragma once

#include "ddpm/core/tensor.h"

namespace ddpm {

/// A tensor of the CPU on `device`, to be read only: for the CPU itself, else a copy that the host
/// does not wait for. It goes by way of pinned memory; from other memory a copy waits for all that
/// the GPU has queued.
Tensor send_to_device(const Tensor& host, at::Device device);

}  // namespace ddpm
