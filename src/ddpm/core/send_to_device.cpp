#include "ddpm/core/send_to_device.h"

#include <ATen/ATen.h>

namespace ddpm {

Tensor send_to_device(const Tensor& host, at::Device device) {
  return device.is_cuda() ? host.pin_memory().to(device, /*non_blocking=*/true) : host;
}

}  // namespace ddpm
