#pragma once

#include <cstddef>
#include <cstdint>
#include <cuda_runtime_api.h>
#include <span>

namespace ddpm::cuda {

/// Device memory that is filled with a value. At least 1 byte, from any address on.
struct DeviceFill {
  unsigned char* to;
  size_t bytes;
  uint32_t pattern;  ///< of every 4 bytes from an address on that 4 divides, the lowest first.
};

/// Device memory that is copied, on one GPU. At least 1 byte, from any address to any other; the
/// two don't overlap.
struct DeviceCopy {
  unsigned char* to;
  const unsigned char* from;
  size_t bytes;
};

/// Adds a kernel that does `fill` or `copy` on the current device to a graph, after `dependencies`.
///
/// @param node gets the kernel's node; unchanged where there is an error.
cudaError_t add_kernel_node(cudaGraph_t graph, std::span<const cudaGraphNode_t> dependencies,
                            const DeviceFill& fill, cudaGraphNode_t& node);
cudaError_t add_kernel_node(cudaGraph_t graph, std::span<const cudaGraphNode_t> dependencies,
                            const DeviceCopy& copy, cudaGraphNode_t& node);

}  // namespace ddpm::cuda
