#pragma once

#include <cstdint>
#include <cuda_runtime_api.h>

namespace ddpm {

/// How many of a graph's nodes have become kernels.
struct ReplacedNodes {
  int64_t fills = 0;
  int64_t copies = 0;
};

/// Puts kernels that do the same in the place of a graph's memset nodes, and of its memcpy nodes
/// within the current device's memory: in a chain of kernels the GPU takes 6 us for such a node
/// with the gaps around it, and 2 us for a kernel. Most come from the libraries, which clear a
/// workspace before a product.
///
/// Nodes of more than one row, of other memory, with edges that are not plain, or in graphs within
/// the graph stay as they are, and so does all that CUDA refuses to change. Compiled with CUDA
/// alone.
///
/// @param graph not instantiated yet.
ReplacedNodes replace_fills_and_copies(cudaGraph_t graph);

}  // namespace ddpm
