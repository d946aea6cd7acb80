#include "ddpm/core/captured_launch.h"

#include <c10/cuda/CUDAException.h>

namespace ddpm {
namespace {

/// What comes next on the stream will depend on these.
cudaError_t get_last_nodes(cudaStream_t stream, cudaStreamCaptureStatus* status,
                           const cudaGraphNode_t** nodes, size_t* count) {
#if CUDART_VERSION >= 13000
  return cudaStreamGetCaptureInfo(stream, status, /*id=*/nullptr, /*graph=*/nullptr, nodes,
                                  /*edges=*/nullptr, count);
#else
  return cudaStreamGetCaptureInfo_v2(stream, status, /*id=*/nullptr, /*graph=*/nullptr, nodes,
                                     count);
#endif
}

}  // namespace

std::optional<CapturedLaunch> CapturedLaunch::last_of(cudaStream_t stream) {
  cudaStreamCaptureStatus status{};
  const cudaGraphNode_t* nodes = nullptr;
  size_t count = 0;
  C10_CUDA_CHECK(get_last_nodes(stream, &status, &nodes, &count));
  if (status != cudaStreamCaptureStatusActive) return std::nullopt;
  TORCH_CHECK(count == 1, "[CapturedLaunch] expected a stream behind one launch, got ", count);
  cudaKernelNodeParams params{};
  C10_CUDA_CHECK(cudaGraphKernelNodeGetParams(nodes[0], &params));
  return CapturedLaunch(nodes[0]);
}

void CapturedLaunch::set_arguments(CudaGraph& graph, void** arguments) const {
  cudaKernelNodeParams params{};
  C10_CUDA_CHECK(cudaGraphKernelNodeGetParams(node_, &params));
  params.kernelParams = arguments;
  C10_CUDA_CHECK(cudaGraphExecKernelNodeSetParams(graph.executable(), node_, &params));
}

}  // namespace ddpm
