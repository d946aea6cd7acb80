#include "ddpm/core/graph_fills.h"

#include <algorithm>
#include <optional>
#include <vector>

#include "ddpm/core/graph_fill_kernels.h"

namespace ddpm {
namespace {

using GraphNodes = std::vector<cudaGraphNode_t>;

// From 13 on these take the edges' data, too. Without it they know plain edges alone: of a node
// that has others, such as those of programmatic launches, they list nothing and return an error.
#if CUDART_VERSION >= 13000
cudaError_t get_dependencies(cudaGraphNode_t node, cudaGraphNode_t* nodes, size_t* count) {
  return cudaGraphNodeGetDependencies(node, nodes, nullptr, count);
}

cudaError_t get_dependents(cudaGraphNode_t node, cudaGraphNode_t* nodes, size_t* count) {
  return cudaGraphNodeGetDependentNodes(node, nodes, nullptr, count);
}

cudaError_t add_plain_edges(cudaGraph_t graph, const GraphNodes& from, const GraphNodes& to) {
  return cudaGraphAddDependencies(graph, from.data(), to.data(), nullptr, to.size());
}
#else
cudaError_t get_dependencies(cudaGraphNode_t node, cudaGraphNode_t* nodes, size_t* count) {
  return cudaGraphNodeGetDependencies(node, nodes, count);
}

cudaError_t get_dependents(cudaGraphNode_t node, cudaGraphNode_t* nodes, size_t* count) {
  return cudaGraphNodeGetDependentNodes(node, nodes, count);
}

cudaError_t add_plain_edges(cudaGraph_t graph, const GraphNodes& from, const GraphNodes& to) {
  return cudaGraphAddDependencies(graph, from.data(), to.data(), to.size());
}
#endif

/// @param list one of CUDA's functions that tell how many nodes there are, or list them.
template <typename Of>
std::optional<GraphNodes> list_nodes(cudaError_t (*list)(Of, cudaGraphNode_t*, size_t*), Of of) {
  size_t count = 0;
  if (list(of, nullptr, &count) != cudaSuccess) return std::nullopt;
  GraphNodes nodes(count);
  if (count > 0 && list(of, nodes.data(), &count) != cudaSuccess) return std::nullopt;
  return nodes;
}

bool has_type(cudaGraphNode_t node, cudaGraphNodeType expected) {
  cudaGraphNodeType type{};
  return cudaGraphNodeGetType(node, &type) == cudaSuccess && type == expected;
}

/// CUDA removes no edges where a graph has memory of its own.
bool manages_memory(cudaGraphNode_t node) {
  return has_type(node, cudaGraphNodeTypeMemAlloc) || has_type(node, cudaGraphNodeTypeMemFree);
}

bool is_of_current_device(const void* memory) {
  int device = 0;
  cudaPointerAttributes attributes{};
  return cudaGetDevice(&device) == cudaSuccess &&
         cudaPointerGetAttributes(&attributes, memory) == cudaSuccess &&
         attributes.type == cudaMemoryTypeDevice && attributes.device == device;
}

/// The 4 bytes of as many elements as they hold.
uint32_t repeat_value(uint32_t value, uint32_t element_size) {
  switch (element_size) {
    case 1:
      return (value & 0xffU) * 0x01010101U;
    case 2:
      return (value & 0xffffU) * 0x00010001U;
    default:
      return value;
  }
}

/// What a memset node does; nothing if no kernel here does that.
std::optional<cuda::DeviceFill> fill_of(cudaGraphNode_t node) {
  cudaMemsetParams params{};
  if (!has_type(node, cudaGraphNodeTypeMemset) ||
      cudaGraphMemsetNodeGetParams(node, &params) != cudaSuccess) {
    return std::nullopt;
  }
  const uint32_t size = params.elementSize;
  if (params.height != 1 || params.width == 0 || (size != 1 && size != 2 && size != 4) ||
      reinterpret_cast<uintptr_t>(params.dst) % size != 0 || !is_of_current_device(params.dst)) {
    return std::nullopt;
  }
  return cuda::DeviceFill{.to = static_cast<unsigned char*>(params.dst),
                          .bytes = params.width * size,
                          .pattern = repeat_value(params.value, size)};
}

bool is_one_row(const cudaMemcpy3DParms& params) {
  const auto is_origin = [](const cudaPos& pos) { return pos.x == 0 && pos.y == 0 && pos.z == 0; };
  return params.srcArray == nullptr && params.dstArray == nullptr && is_origin(params.srcPos) &&
         is_origin(params.dstPos) && params.extent.width > 0 && params.extent.height == 1 &&
         params.extent.depth == 1;
}

/// What a memcpy node does; nothing if no kernel here does that.
std::optional<cuda::DeviceCopy> copy_of(cudaGraphNode_t node) {
  cudaMemcpy3DParms params{};
  if (!has_type(node, cudaGraphNodeTypeMemcpy) ||
      cudaGraphMemcpyNodeGetParams(node, &params) != cudaSuccess || !is_one_row(params) ||
      (params.kind != cudaMemcpyDeviceToDevice && params.kind != cudaMemcpyDefault)) {
    return std::nullopt;
  }
  const cuda::DeviceCopy copy{.to = static_cast<unsigned char*>(params.dstPtr.ptr),
                              .from = static_cast<const unsigned char*>(params.srcPtr.ptr),
                              .bytes = params.extent.width};
  const auto to = reinterpret_cast<uintptr_t>(copy.to);
  const auto from = reinterpret_cast<uintptr_t>(copy.from);
  const bool overlap = std::max(to, from) - std::min(to, from) < copy.bytes;
  if (overlap || !is_of_current_device(copy.to) || !is_of_current_device(copy.from)) {
    return std::nullopt;
  }
  return copy;
}

/// Puts a kernel in a node's place, or leaves the graph as it was.
template <typename Work>
bool replace_node(cudaGraph_t graph, cudaGraphNode_t node, const std::optional<Work>& work) {
  if (!work) return false;
  const auto dependencies = list_nodes(get_dependencies, node);
  const auto dependents = list_nodes(get_dependents, node);
  if (!dependencies || !dependents) return false;
  cudaGraphNode_t kernel = nullptr;
  if (cuda::add_kernel_node(graph, *dependencies, *work, kernel) != cudaSuccess) return false;
  const GraphNodes from(dependents->size(), kernel);
  if (add_plain_edges(graph, from, *dependents) == cudaSuccess &&
      cudaGraphDestroyNode(node) == cudaSuccess) {
    return true;
  }
  static_cast<void>(cudaGraphDestroyNode(kernel));
  return false;
}

}  // namespace

ReplacedNodes replace_fills_and_copies(cudaGraph_t graph) {
  ReplacedNodes replaced;
  const auto nodes = list_nodes(cudaGraphGetNodes, graph);
  if (nodes && std::none_of(nodes->begin(), nodes->end(), manages_memory)) {
    for (const cudaGraphNode_t node : *nodes) {
      if (replace_node(graph, node, fill_of(node))) {
        ++replaced.fills;
      } else if (replace_node(graph, node, copy_of(node))) {
        ++replaced.copies;
      }
    }
  }
  static_cast<void>(cudaGetLastError());  // a refusal is none of the next launch's business
  return replaced;
}

}  // namespace ddpm
