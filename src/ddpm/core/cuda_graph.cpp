#include "ddpm/core/cuda_graph.h"

#include <ATen/ATen.h>
#include <c10/core/Event.h>
#include <c10/cuda/CUDACachingAllocator.h>
#include <c10/cuda/CUDAException.h>
#include <c10/cuda/CUDAGuard.h>

#include <map>

#include "ddpm/core/graph_fills.h"
#include "ddpm/core/tensor.h"

namespace ddpm {
namespace {

/// One a thread and GPU: cuBLAS keeps a workspace for each stream.
c10::cuda::CUDAStream capture_stream(c10::DeviceIndex gpu) {
  thread_local std::map<c10::DeviceIndex, c10::cuda::CUDAStream> streams;
  const auto found = streams.find(gpu);
  if (found != streams.end()) return found->second;
  return streams.emplace(gpu, c10::cuda::getStreamFromPool(/*isHighPriority=*/false, gpu))
      .first->second;
}

void make_wait(const c10::cuda::CUDAStream& waiting, const c10::cuda::CUDAStream& awaited) {
  c10::Event event(at::kCUDA);
  event.record(awaited.unwrap());
  event.block(waiting.unwrap());
}

/// Other threads may allocate and ask for events while this one captures.
void begin_capture(at::cuda::CUDAGraph& graph, c10::MempoolId_t pool) {
  graph.capture_begin(pool, cudaStreamCaptureModeThreadLocal);
}

/// Ends a capture that failed, and what it has left in the allocator.
void abandon_capture(at::cuda::CUDAGraph& graph, c10::DeviceIndex gpu, c10::MempoolId_t pool) {
  const auto ignoring_errors = [](const auto& step) {
    try {
      step();
    } catch (const std::exception&) {  // it has been done, or CUDA has done it
    }
    static_cast<void>(cudaGetLastError());
  };
  ignoring_errors([&] { graph.capture_end(); });
  ignoring_errors([&] {
    c10::cuda::CUDACachingAllocator::endAllocateToPool(gpu, pool);
    c10::cuda::CUDACachingAllocator::releasePool(gpu, pool);
  });
}

/// A generator believes itself to be captured until a capture ends well.
void release_generators(const Tensor& scratch) {
  at::cuda::CUDAGraph graph;
  begin_capture(graph, at::cuda::graph_pool_handle());
  scratch.zero_();
  graph.capture_end();
}

}  // namespace

CudaGraph::CudaGraph(at::Device device, const std::function<void()>& work) {
  const c10::cuda::CUDAGuard guard(device);
  const Tensor scratch = at::zeros({1}, at::device(device));
  c10::cuda::CUDACachingAllocator::emptyCache();  // what warm-up runs have used
  const auto outer = c10::cuda::getCurrentCUDAStream();
  const c10::DeviceIndex gpu = outer.device_index();
  const auto stream = capture_stream(gpu);
  const c10::cuda::CUDAStreamGuard stream_guard(stream);
  make_wait(stream, outer);
  const c10::MempoolId_t pool = at::cuda::graph_pool_handle();
  graph_ = std::make_unique<at::cuda::CUDAGraph>(/*keep_graph=*/true);
  try {
    begin_capture(*graph_, pool);
    work();
    graph_->capture_end();
    replace_fills_and_copies(graph_->raw_cuda_graph());
    graph_->instantiate();
  } catch (...) {
    abandon_capture(*graph_, gpu, pool);
    graph_.reset();
    release_generators(scratch);
    throw;
  }
}

void run_on_capture_stream(at::Device device, const std::function<void()>& work) {
  const c10::cuda::CUDAGuard guard(device);
  const auto outer = c10::cuda::getCurrentCUDAStream();
  const auto stream = capture_stream(outer.device_index());
  make_wait(stream, outer);
  {
    const c10::cuda::CUDAStreamGuard stream_guard(stream);
    work();
  }
  make_wait(outer, stream);
}

}  // namespace ddpm
