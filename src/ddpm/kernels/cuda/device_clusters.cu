#include <cuda_runtime_api.h>

#include "ddpm/kernels/cuda/device_clusters.h"

namespace ddpm::cuda {
namespace {

constexpr int kFirstMajor = 9;  // of the compute capability

/// Compiled as all kernels are.
__global__ void any_kernel() {}

bool kernels_are_compiled() {
  cudaFuncAttributes attributes{};
  return cudaFuncGetAttributes(&attributes, any_kernel) == cudaSuccess &&
         !(attributes.ptxVersion > 0 && attributes.ptxVersion < 10 * kFirstMajor);
}

}  // namespace

bool device_has_clusters() {
  static const bool are_compiled = kernels_are_compiled();
  int device = 0, major = 0;
  return are_compiled && cudaGetDevice(&device) == cudaSuccess &&
         cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device) == cudaSuccess &&
         major >= kFirstMajor;
}

cudaError_t count_processors(int& processors) {
  int device = 0;
  if (const auto error = cudaGetDevice(&device); error != cudaSuccess) return error;
  return cudaDeviceGetAttribute(&processors, cudaDevAttrMultiProcessorCount, device);
}

}  // namespace ddpm::cuda
