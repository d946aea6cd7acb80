#pragma once

#include <memory>

#include "ddpm/kernels/call_inputs.h"

namespace ddpm {

class CudaGraph;
namespace cuda {
class CapturedCallCopy;
}

/// copy_call_inputs() within captured work (core/captured_work.h), with other tensors at each
/// replay: so a call's inputs and its answer need no launch beside the graph. An answer is an x
/// alone.
class CapturedCopy {
 public:
  CapturedCopy();
  ~CapturedCopy();
  CapturedCopy(CapturedCopy&&) noexcept;
  CapturedCopy& operator=(CapturedCopy&&) = delete;

  /// Whether they can be copied so: what copy_call_inputs() takes, on a GPU, x of float or bfloat16
  /// and channels_last where it goes to, all else contiguous.
  static bool takes(const CallInputs& from, const CallInputs& to);

  /// Copies them. One that captures remembers where.
  void copy(const CallInputs& from, const CallInputs& to);

  /// Replays of `graph` copy these from now on.
  ///
  /// @param graph in whose capture copy() was called, with tensors of these sizes and dtypes.
  void rebind(CudaGraph& graph, const CallInputs& from, const CallInputs& to);

 private:
  std::unique_ptr<cuda::CapturedCallCopy> launch_;
};

}  // namespace ddpm
