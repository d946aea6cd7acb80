#include "ddpm/kernels/pad.h"

#include <ATen/ATen.h>
#ifdef DDPM_CUDA
#include "ddpm/kernels/cuda/pad_function.h"
#endif

namespace ddpm {

Tensor pad_right_and_bottom(const Tensor& x) { return pad_right_and_bottom_fork(x).y; }

PadFork pad_right_and_bottom_fork(const Tensor& x) {
#ifdef DDPM_CUDA
  if (cuda::pad_is_fused(x)) return cuda::fused_pad(x);
#endif
  return {.y = at::constant_pad_nd(x, {0, 1, 0, 1}).contiguous(at::MemoryFormat::ChannelsLast),
          .x = x};
}

}  // namespace ddpm
