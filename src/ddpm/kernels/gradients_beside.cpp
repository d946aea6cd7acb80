#include "ddpm/kernels/gradients_beside.h"

#include <ATen/core/Tensor.h>

#include <utility>

#ifdef DDPM_CUDA
#include "ddpm/kernels/cuda/side_stream.h"
#endif

namespace ddpm {

void with_gradients_beside(at::Device device, const std::function<void()>& backward) {
#ifdef DDPM_CUDA
  if (device.is_cuda()) return cuda::with_side_stream(device, backward);
#endif
  static_cast<void>(device);
  backward();
}

void run_beside_gradients(std::vector<Tensor> touched, const std::function<void()>& work) {
#ifdef DDPM_CUDA
  if (!touched.empty() && touched.front().is_cuda()) {
    return cuda::run_beside(std::move(touched), work);
  }
#endif
  static_cast<void>(touched);
  work();
}

}  // namespace ddpm
