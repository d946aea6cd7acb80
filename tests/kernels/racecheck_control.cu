#include <cooperative_groups.h>
#include <cstdint>
#include <cstdio>
#include <cuda_pipeline_primitives.h>
#include <cuda_runtime.h>

#include "ddpm/kernels/cuda/early_launch.cuh"
#include "ddpm/kernels/cuda/warpgroup.cuh"

// What compute-sanitizer's racecheck says of code that is right. Each kernel hands shared memory
// over as the PTX ISA has it (section "Memory Consistency Model"); what racecheck reports here, and
// of our own kernels where they do the same, is no race.
namespace {

using namespace ddpm::cuda;
namespace cg = cooperative_groups;

constexpr int kTimes = 30, kThreads = 128;

/// Half the threads write, and arrive one by one or one for a warp; the others wait and read.
template <bool kOneForAWarp>
__global__ void hand_over([[maybe_unused]] float4* out) {
#if !defined(__CUDA_ARCH__) || __CUDA_ARCH__ >= 900
  __shared__ float4 room[kThreads / 2];
  __shared__ uint64_t is_written;
  const int thread = static_cast<int>(threadIdx.x), half = kThreads / 2;
  if (thread == 0) init_barrier(&is_written, kOneForAWarp ? half / kWarpThreads : half);
  __syncthreads();
  if (thread < half) {
    room[thread] = {1, 2, 3, static_cast<float>(thread)};
    if constexpr (kOneForAWarp) {
      arrive_as_warp(&is_written);
    } else {
      arrive(&is_written);
    }
  } else {
    wait_for_phase(&is_written, 0);
    out[thread - half] = room[thread - half];
  }
#endif
}

/// Each block of a cluster fills its memory, by copies or by stores; then the other one writes
/// there.
template <bool kCopies>
__global__ void fill_and_send([[maybe_unused]] const float4* in, [[maybe_unused]] float4* out) {
#if !defined(__CUDA_ARCH__) || __CUDA_ARCH__ >= 900
  __shared__ float4 room[kThreads];
  wait_for_previous_kernel();
  const auto cluster = cg::this_cluster();
  const int thread = static_cast<int>(threadIdx.x);
  if constexpr (kCopies) {
    __pipeline_memcpy_async(&room[thread], in + thread, sizeof(float4));
    __pipeline_commit();
    __pipeline_wait_prior(0);
  } else {
    room[thread] = in[thread];
  }
  cluster.sync();
  float4* const there = cluster.map_shared_rank(room, cluster.block_rank() ^ 1);
  there[thread ^ 32] = {1, 2, 3, static_cast<float>(thread ^ 32)};
  cluster.sync();
  out[thread] = room[thread];
#endif
}

/// Whether the kernel wrote what it should, which is cleared then.
bool is_right(float4* out, int count) {
  if (cudaDeviceSynchronize() != cudaSuccess) return false;
  for (int i = 0; i < count; ++i) {
    if (out[i].x != 1 || out[i].y != 2 || out[i].z != 3 || out[i].w != static_cast<float>(i)) {
      return false;
    }
    out[i] = {};
  }
  return true;
}

}  // namespace

int main() {
  if (!device_has_clusters()) {
    std::puts("racecheck_control: a GPU with clusters is wanted");
    return 0;
  }
  float4 *in = nullptr, *out = nullptr;
  if (cudaMallocManaged(&in, kThreads * sizeof(float4)) != cudaSuccess ||
      cudaMallocManaged(&out, kThreads * sizeof(float4)) != cudaSuccess) {
    std::fprintf(stderr, "racecheck_control: no memory\n");
    return 1;
  }
  const EarlyLaunch pair{.blocks = dim3(2),
                         .threads = dim3(kThreads),
                         .shared_bytes = 0,
                         .stream = nullptr,
                         .cluster_blocks = 2};
  bool all = true;
  for (int i = 0; i < kThreads; ++i) in[i] = out[i] = {};
  for (int i = 0; i < kTimes; ++i) {
    hand_over<false><<<1, kThreads>>>(out);
    all = is_right(out, kThreads / 2) && all;
    hand_over<true><<<1, kThreads>>>(out);
    all = is_right(out, kThreads / 2) && all;
    for (auto* const kernel : {fill_and_send<false>, fill_and_send<true>}) {
      all = launch_early(pair, kernel, in, out) == cudaSuccess && is_right(out, kThreads) && all;
    }
  }
  if (!all) std::fprintf(stderr, "racecheck_control: a result is wrong\n");
  return all ? 0 : 1;
}
