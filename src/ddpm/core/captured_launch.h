#pragma once

#include <cuda_runtime_api.h>
#include <optional>

#include "ddpm/core/cuda_graph.h"

namespace ddpm {

/// A kernel's launch in a captured graph, whose arguments may be others at each replay. Compiled
/// with CUDA alone.
class CapturedLaunch {
 public:
  /// The kernel that `stream` has launched last; none if it does not capture.
  ///
  /// @throws c10::Error if what it has captured last is no kernel.
  static std::optional<CapturedLaunch> last_of(cudaStream_t stream);

  /// Replays from the next one on have these arguments; those that are under way keep theirs.
  ///
  /// @param graph     of the capture.
  /// @param arguments pointers to as many as the kernel has, of its parameters' types.
  void set_arguments(CudaGraph& graph, void** arguments) const;

 private:
  explicit CapturedLaunch(cudaGraphNode_t node) : node_(node) {}

  cudaGraphNode_t node_;
};

}  // namespace ddpm
