#include <algorithm>

#include "ddpm/core/graph_fill_kernels.h"

namespace ddpm::cuda {
namespace {

constexpr int kThreads = 256;
constexpr size_t kMostBlocks = 1024;  // 8 a multiprocessor of the largest GPUs: all its threads

/// Memory as whole units, which begin at an address that their size divides, and the fewer than two
/// units' bytes around them.
template <typename Unit>
struct Parts {
  size_t bytes_before;  // the units
  size_t units;
  size_t edge_bytes;  // before and behind the units

  __host__ __device__ Parts(const unsigned char* begin, size_t bytes) {
    const size_t past_unit = reinterpret_cast<uintptr_t>(begin) % sizeof(Unit);
    const size_t to_unit = past_unit == 0 ? 0 : sizeof(Unit) - past_unit;
    bytes_before = to_unit < bytes ? to_unit : bytes;
    units = (bytes - bytes_before) / sizeof(Unit);
    edge_bytes = bytes - units * sizeof(Unit);
  }

  /// Where the edges' byte `i` lies.
  __host__ __device__ size_t edge_byte(size_t i) const {
    return i < bytes_before ? i : i + units * sizeof(Unit);
  }
};

__device__ size_t thread_of_grid() {
  return static_cast<size_t>(blockIdx.x) * kThreads + threadIdx.x;
}

__global__ void __launch_bounds__(kThreads) fill_kernel(DeviceFill fill) {
  const Parts<uint4> parts(fill.to, fill.bytes);
  const size_t thread = thread_of_grid();
  if (thread < parts.edge_bytes) {
    unsigned char* const byte = fill.to + parts.edge_byte(thread);
    *byte = static_cast<unsigned char>(fill.pattern >> 8 * (reinterpret_cast<uintptr_t>(byte) % 4));
  }
  uint4* const to = reinterpret_cast<uint4*>(fill.to + parts.bytes_before);
  const uint4 unit = make_uint4(fill.pattern, fill.pattern, fill.pattern, fill.pattern);
  const size_t step = static_cast<size_t>(gridDim.x) * kThreads;
  for (size_t i = thread; i < parts.units; i += step) to[i] = unit;
}

/// @param copy to and from addresses that lie whole units apart.
template <typename Unit>
__global__ void __launch_bounds__(kThreads) copy_kernel(DeviceCopy copy) {
  const Parts<Unit> parts(copy.to, copy.bytes);
  const size_t thread = thread_of_grid();
  if (thread < parts.edge_bytes) {
    copy.to[parts.edge_byte(thread)] = copy.from[parts.edge_byte(thread)];
  }
  Unit* const __restrict__ to = reinterpret_cast<Unit*>(copy.to + parts.bytes_before);
  const Unit* const __restrict__ from =
      reinterpret_cast<const Unit*>(copy.from + parts.bytes_before);
  const size_t step = static_cast<size_t>(gridDim.x) * kThreads;
#pragma unroll 4
  for (size_t i = thread; i < parts.units; i += step) to[i] = from[i];
}

/// @param work what the kernel does, as its only argument.
template <typename Unit, typename Work>
cudaError_t add_node(cudaGraph_t graph, std::span<const cudaGraphNode_t> dependencies,
                     void (*kernel)(Work), Work work, cudaGraphNode_t& node) {
  static_assert(2 * sizeof(Unit) <= kThreads, "one block has a thread for each byte of the edges");
  const size_t units = Parts<Unit>(work.to, work.bytes).units;
  const size_t blocks = std::clamp<size_t>((units + kThreads - 1) / kThreads, 1, kMostBlocks);
  void* arguments[] = {&work};  // copied into the node
  cudaKernelNodeParams params{};
  params.func = reinterpret_cast<void*>(kernel);
  params.gridDim.x = static_cast<unsigned>(blocks);
  params.blockDim.x = kThreads;
  params.kernelParams = arguments;
  return cudaGraphAddKernelNode(&node, graph, dependencies.data(), dependencies.size(), &params);
}

template <typename Unit>
bool lie_units_apart(const DeviceCopy& copy) {
  return reinterpret_cast<uintptr_t>(copy.to) % sizeof(Unit) ==
         reinterpret_cast<uintptr_t>(copy.from) % sizeof(Unit);
}

}  // namespace

cudaError_t add_kernel_node(cudaGraph_t graph, std::span<const cudaGraphNode_t> dependencies,
                            const DeviceFill& fill, cudaGraphNode_t& node) {
  return add_node<uint4>(graph, dependencies, fill_kernel, fill, node);
}

cudaError_t add_kernel_node(cudaGraph_t graph, std::span<const cudaGraphNode_t> dependencies,
                            const DeviceCopy& copy, cudaGraphNode_t& node) {
  if (lie_units_apart<uint4>(copy)) {
    return add_node<uint4>(graph, dependencies, copy_kernel<uint4>, copy, node);
  }
  if (lie_units_apart<uint32_t>(copy)) {
    return add_node<uint32_t>(graph, dependencies, copy_kernel<uint32_t>, copy, node);
  }
  return add_node<unsigned char>(graph, dependencies, copy_kernel<unsigned char>, copy, node);
}

}  // namespace ddpm::cuda
