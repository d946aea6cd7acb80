#include <ATen/ATen.h>
#include <c10/cuda/CUDAException.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <functional>
#include <utility>
#include <vector>

#include "ddpm/core/graph_fill_kernels.h"
#include "ddpm/core/graph_fills.h"
#include "ddpm/core/tensor.h"

namespace ddpm {
namespace {

constexpr int64_t kChangedBytes = 4096;

/// A graph of CUDA alone.
class RawGraph {
 public:
  RawGraph() { C10_CUDA_CHECK(cudaGraphCreate(&graph_, 0)); }
  /// What `work` launches on the current stream, which is one of its own.
  explicit RawGraph(const std::function<void(cudaStream_t)>& work) {
    const auto stream = c10::cuda::getStreamFromPool(/*isHighPriority=*/false, 0);
    const c10::cuda::CUDAStreamGuard guard(stream);
    C10_CUDA_CHECK(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal));
    work(stream);
    C10_CUDA_CHECK(cudaStreamEndCapture(stream, &graph_));
  }
  ~RawGraph() { static_cast<void>(cudaGraphDestroy(graph_)); }
  RawGraph(const RawGraph&) = delete;
  RawGraph& operator=(const RawGraph&) = delete;

  cudaGraph_t get() const { return graph_; }

  int64_t count(cudaGraphNodeType expected) const {
    size_t count = 0;
    C10_CUDA_CHECK(cudaGraphGetNodes(graph_, nullptr, &count));
    std::vector<cudaGraphNode_t> nodes(count);
    C10_CUDA_CHECK(cudaGraphGetNodes(graph_, nodes.data(), &count));
    int64_t of_type = 0;
    for (const cudaGraphNode_t node : nodes) {
      cudaGraphNodeType type{};
      C10_CUDA_CHECK(cudaGraphNodeGetType(node, &type));
      of_type += type == expected;
    }
    return of_type;
  }

  void run() const {
    cudaGraphExec_t executable = nullptr;
    const auto stream = c10::cuda::getCurrentCUDAStream();
    C10_CUDA_CHECK(cudaGraphInstantiateWithFlags(&executable, graph_, 0));
    C10_CUDA_CHECK(cudaGraphLaunch(executable, stream));
    C10_CUDA_CHECK(cudaStreamSynchronize(stream));
    C10_CUDA_CHECK(cudaGraphExecDestroy(executable));
  }

 private:
  cudaGraph_t graph_ = nullptr;
};

Tensor device_bytes(int64_t count) {
  return at::full({count}, 0xa5, at::device(at::Device(at::kCUDA, 0)).dtype(at::kByte));
}

TEST(GraphFillsGpuTest, NoNodeOfOneRowIsLeft) {
  if (!at::hasCUDA()) GTEST_SKIP() << "no GPU, or a LibTorch without CUDA";
  const Tensor bytes = device_bytes(kChangedBytes);
  unsigned char* const memory = bytes.data_ptr<uint8_t>();
  const RawGraph graph([&](cudaStream_t stream) {
    C10_CUDA_CHECK(cudaMemsetAsync(memory, 1, 100, stream));
    C10_CUDA_CHECK(cudaMemsetAsync(memory + 1, 2, 98, stream));
    bytes.add_(1);
    C10_CUDA_CHECK(cudaMemset2DAsync(memory, 128, 3, 7, 4, stream));
    C10_CUDA_CHECK(cudaMemcpyAsync(memory + 1001, memory, 333, cudaMemcpyDeviceToDevice, stream));
    C10_CUDA_CHECK(cudaMemcpyAsync(memory + 2001, memory + 1, 333, cudaMemcpyDefault, stream));
    bytes.add_(1);
    C10_CUDA_CHECK(cudaMemsetAsync(memory + 3000, 4, 5, stream));
  });
  ASSERT_EQ(graph.count(cudaGraphNodeTypeMemset), 4);
  ASSERT_EQ(graph.count(cudaGraphNodeTypeMemcpy), 2);
  const int64_t kernels = graph.count(cudaGraphNodeTypeKernel);
  const ReplacedNodes replaced = replace_fills_and_copies(graph.get());
  EXPECT_EQ(replaced.fills, 3);
  EXPECT_EQ(replaced.copies, 2);
  EXPECT_EQ(graph.count(cudaGraphNodeTypeMemset), 1) << "the one of several rows";
  EXPECT_EQ(graph.count(cudaGraphNodeTypeMemcpy), 0);
  EXPECT_EQ(graph.count(cudaGraphNodeTypeKernel), kernels + 5);
}

TEST(GraphFillsGpuTest, OtherMemoryIsLeftToCuda) {
  if (!at::hasCUDA()) GTEST_SKIP() << "no GPU, or a LibTorch without CUDA";
  const Tensor device = device_bytes(kChangedBytes);
  const Tensor host = at::zeros({kChangedBytes}, at::kByte).pin_memory();
  unsigned char* const memory = device.data_ptr<uint8_t>();
  const RawGraph graph([&](cudaStream_t stream) {
    C10_CUDA_CHECK(cudaMemcpyAsync(host.data_ptr(), memory, 99, cudaMemcpyDeviceToHost, stream));
    C10_CUDA_CHECK(cudaMemcpyAsync(memory, host.data_ptr(), 99, cudaMemcpyDefault, stream));
    C10_CUDA_CHECK(
        cudaMemcpy2DAsync(memory + 1000, 64, memory, 128, 33, 4, cudaMemcpyDeviceToDevice, stream));
  });
  const ReplacedNodes replaced = replace_fills_and_copies(graph.get());
  EXPECT_EQ(replaced.fills, 0);
  EXPECT_EQ(replaced.copies, 0);
  EXPECT_EQ(graph.count(cudaGraphNodeTypeMemcpy), 3);
  EXPECT_EQ(cudaGetLastError(), cudaSuccess) << "what was refused is forgotten";
}

/// Bytes after a graph of one fill.
Tensor filled_by(const cudaMemsetParams& params, const Tensor& bytes, bool by_kernel) {
  bytes.fill_(0xa5);
  c10::cuda::getCurrentCUDAStream().synchronize();
  const RawGraph graph;
  cudaGraphNode_t node = nullptr;
  C10_CUDA_CHECK(cudaGraphAddMemsetNode(&node, graph.get(), nullptr, 0, &params));
  if (by_kernel) {
    EXPECT_EQ(replace_fills_and_copies(graph.get()).fills, 1);
  }
  graph.run();
  return bytes.cpu();
}

TEST(GraphFillsGpuTest, ElementsOfEachSizeGetTheirValue) {
  if (!at::hasCUDA()) GTEST_SKIP() << "no GPU, or a LibTorch without CUDA";
  const Tensor bytes = device_bytes(kChangedBytes);
  constexpr std::array<unsigned, 5> kValues = {0, 0x9c, 0x9cb7, 0, 0x9cb7d1e3};  // by size
  for (unsigned size : {1U, 2U, 4U}) {
    for (size_t place = 0; place < 20; place += size) {
      for (size_t width : {size_t{1}, size_t{3}, size_t{8}, size_t{29}, size_t{500}}) {
        cudaMemsetParams params{};
        params.dst = bytes.data_ptr<uint8_t>() + place;
        params.value = kValues[size];
        params.elementSize = size;
        params.width = width;
        params.height = 1;
        EXPECT_TRUE(at::equal(filled_by(params, bytes, true), filled_by(params, bytes, false)))
            << width << " elements of " << size << " bytes from byte " << place << " on";
      }
    }
  }
}

using EdgeList = std::vector<std::pair<cudaGraphNode_t, cudaGraphNode_t>>;

EdgeList edges_of(cudaGraph_t graph) {
  constexpr size_t kMostEdges = 16;
  size_t count = kMostEdges;
  std::array<cudaGraphNode_t, kMostEdges> from{}, to{};
#if CUDART_VERSION >= 13000
  C10_CUDA_CHECK(cudaGraphGetEdges(graph, from.data(), to.data(), /*edgeData=*/nullptr, &count));
#else
  C10_CUDA_CHECK(cudaGraphGetEdges(graph, from.data(), to.data(), &count));
#endif
  EdgeList edges;
  for (size_t i = 0; i < count; ++i) edges.emplace_back(from[i], to[i]);
  return edges;
}

cudaGraphNode_t add_fill(const RawGraph& graph, const std::vector<cudaGraphNode_t>& after,
                         const Tensor& bytes) {
  const cuda::DeviceFill fill{.to = bytes.data_ptr<uint8_t>(), .bytes = 16, .pattern = 0};
  cudaGraphNode_t kernel = nullptr;
  C10_CUDA_CHECK(cuda::add_kernel_node(graph.get(), after, fill, kernel));
  return kernel;
}

TEST(GraphFillsGpuTest, KernelStandsInTheNodesPlaceAndOtherEdgesStay) {
  if (!at::hasCUDA()) GTEST_SKIP() << "no GPU, or a LibTorch without CUDA";
  const Tensor bytes = device_bytes(kChangedBytes);
  const RawGraph graph;
  const cudaGraphNode_t first = add_fill(graph, {}, bytes);
  const std::array<cudaGraphNode_t, 2> before = {first, add_fill(graph, {first}, bytes)};
  cudaMemsetParams params{};
  params.dst = bytes.data_ptr<uint8_t>();
  params.elementSize = 1;
  params.width = params.height = 1;
  cudaGraphNode_t memset_node = nullptr;
  C10_CUDA_CHECK(
      cudaGraphAddMemsetNode(&memset_node, graph.get(), before.data(), before.size(), &params));
  const cudaGraphNode_t behind = add_fill(graph, {memset_node}, bytes);
  const cudaGraphNode_t last = add_fill(graph, {behind, memset_node}, bytes);

  ASSERT_EQ(replace_fills_and_copies(graph.get()).fills, 1);
  EdgeList edges = edges_of(graph.get());
  const auto into = std::find_if(edges.begin(), edges.end(),
                                 [&](const auto& edge) { return edge.first == before[1]; });
  ASSERT_NE(into, edges.end());
  const cudaGraphNode_t kernel = into->second;
  EXPECT_THAT(edges, testing::UnorderedElementsAreArray(EdgeList{{first, before[1]},
                                                                 {first, kernel},
                                                                 {before[1], kernel},
                                                                 {kernel, behind},
                                                                 {kernel, last},
                                                                 {behind, last}}));
}

}  // namespace
}  // namespace ddpm
