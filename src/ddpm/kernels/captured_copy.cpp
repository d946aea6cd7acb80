#include "ddpm/kernels/captured_copy.h"

#include "ddpm/core/check.h"
#ifdef DDPM_CUDA
#include "ddpm/kernels/cuda/call_inputs_function.h"
#endif

namespace ddpm {
#ifndef DDPM_CUDA
class cuda::CapturedCallCopy {};  // there is never one
#endif

CapturedCopy::CapturedCopy() = default;
CapturedCopy::~CapturedCopy() = default;
CapturedCopy::CapturedCopy(CapturedCopy&&) noexcept = default;

bool CapturedCopy::takes([[maybe_unused]] const CallInputs& from,
                         [[maybe_unused]] const CallInputs& to) {
#ifdef DDPM_CUDA
  return cuda::copies_call_inputs_at_once(from, to);
#else
  return false;
#endif
}

void CapturedCopy::copy(const CallInputs& from, const CallInputs& to) {
  check_arg(takes(from, to), "[CapturedCopy] expected tensors that takes() says it takes");
  copy_call_inputs(from, to);
#ifdef DDPM_CUDA
  launch_ = cuda::CapturedCallCopy::of_last_launch(from, to);
#endif
}

void CapturedCopy::rebind([[maybe_unused]] CudaGraph& graph, const CallInputs& from,
                          const CallInputs& to) {
  check_arg(launch_ != nullptr && takes(from, to),
            "[CapturedCopy] expected a captured copy of tensors that takes() says it takes");
#ifdef DDPM_CUDA
  launch_->rebind(graph, from, to);
#endif
}

}  // namespace ddpm
