#pragma once

#include <ATen/cuda/CUDAGraph.h>

#include <functional>
#include <memory>

namespace ddpm {

/// A captured CUDA graph with memory of its own. Compiled with CUDA alone.
class CudaGraph {
 public:
  /// Captures what `work` launches, without running it.
  ///
  /// @throws what `work` throws, or c10::Error if something in it can't be captured; LibTorch's
  ///         allocator and generators are then as before.
  explicit CudaGraph(at::Device device, const std::function<void()>& work);

  /// Runs it on the current stream.
  void replay() { graph_->replay(); }

  /// What is replayed.
  cudaGraphExec_t executable() { return graph_->raw_cuda_graph_exec(); }

 private:
  std::unique_ptr<at::cuda::CUDAGraph> graph_;
};

/// Runs `work` on the stream on which this thread captures, after what the current stream holds and
/// before what comes to it later. Autograd's nodes remember their stream, so work that is to be
/// captured is warmed up there.
void run_on_capture_stream(at::Device device, const std::function<void()>& work);

}  // namespace ddpm
