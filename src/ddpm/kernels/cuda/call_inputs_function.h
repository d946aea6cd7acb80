#pragma once

#include <memory>

#include "ddpm/core/captured_launch.h"
#include "ddpm/kernels/call_inputs.h"
#include "ddpm/kernels/cuda/call_inputs_kernels.h"

namespace ddpm::cuda {

/// Whether one kernel copies them: x of float or bfloat16 into a channels_last map of these, dense
/// timesteps and labels.
bool copies_call_inputs_at_once(const CallInputs& from, const CallInputs& to);
void copy_call_inputs_at_once(const CallInputs& from, const CallInputs& to);

/// A launch of copy_call_inputs_at_once() in a captured graph.
class CapturedCallCopy {
 public:
  /// What the current stream has launched last, to copy these; null if it does not capture.
  static std::unique_ptr<CapturedCallCopy> of_last_launch(const CallInputs& from,
                                                          const CallInputs& to);

  /// Replays of `graph` copy others of the same sizes and dtypes.
  void rebind(CudaGraph& graph, const CallInputs& from, const CallInputs& to);

 private:
  CapturedCallCopy(CapturedLaunch launch, const CallCopy& bound) : launch_(launch), bound_(bound) {}

  CapturedLaunch launch_;
  CallCopy bound_;  ///< What the next replay copies.
};

}  // namespace ddpm::cuda
