#include "ddpm/kernels/call_inputs.h"

#include <ATen/ATen.h>

#ifdef DDPM_CUDA
#include "ddpm/kernels/cuda/call_inputs_function.h"
#endif

namespace ddpm {

void copy_call_inputs(const CallInputs& from, const CallInputs& to) {
#ifdef DDPM_CUDA
  if (cuda::copies_call_inputs_at_once(from, to)) {
    cuda::copy_call_inputs_at_once(from, to);
    return;
  }
#endif
  to.x.copy_(from.x);
  to.t.copy_(from.t);
  if (to.class_labels.defined()) to.class_labels.copy_(from.class_labels);
}

}  // namespace ddpm
