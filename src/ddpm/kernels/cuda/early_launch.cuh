#pragma once

#include <cuda_runtime.h>

#include "ddpm/kernels/cuda/device_clusters.h"

// Programmatic dependent launch: a kernel may begin while the one before it in the stream still
// runs. What it does before it calls wait_for_previous_kernel() may read nothing but weights, and
// may write nothing; a kernel that writes weights lets others begin once all its threads have.
// Every block has to wait, so that a kernel that is done means that all before it are, too.
namespace ddpm::cuda {

/// Lets the next kernel begin, once all blocks of this one have called it or have ended.
__device__ __forceinline__ void let_next_kernel_begin() {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.launch_dependents;" ::: "memory");
#endif
}

/// Returns when all kernels before this one are done, and what they wrote can be read.
__device__ __forceinline__ void wait_for_previous_kernel() {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
}

/// What a launch needs besides its kernel and arguments.
struct EarlyLaunch {
  dim3 blocks, threads;
  int shared_bytes;
  cudaStream_t stream;
  unsigned cluster_blocks = 1;  ///< 1: no clusters.
};

/// Launches a kernel that calls wait_for_previous_kernel(): early, where the device can do that.
template <typename... Parameters, typename... Arguments>
cudaError_t launch_early(const EarlyLaunch& launch, void (*kernel)(Parameters...),
                         Arguments... arguments) {
  cudaLaunchAttribute attributes[2] = {};
  cudaLaunchConfig_t config{};
  config.gridDim = launch.blocks;
  config.blockDim = launch.threads;
  config.dynamicSmemBytes = static_cast<size_t>(launch.shared_bytes);
  config.stream = launch.stream;
  config.attrs = attributes;
  if (device_has_clusters()) {  // these devices have both
    attributes[config.numAttrs].id = cudaLaunchAttributeProgrammaticStreamSerialization;
    attributes[config.numAttrs++].val.programmaticStreamSerializationAllowed = 1;
  }
  if (launch.cluster_blocks > 1) {
    attributes[config.numAttrs].id = cudaLaunchAttributeClusterDimension;
    attributes[config.numAttrs++].val.clusterDim = {launch.cluster_blocks, 1, 1};
  }
  return cudaLaunchKernelEx(&config, kernel, static_cast<Parameters>(arguments)...);
}

}  // namespace ddpm::cuda
