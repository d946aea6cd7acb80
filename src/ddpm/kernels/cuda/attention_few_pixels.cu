#include <algorithm>
#include <cmath>
#include <cuda_bf16.h>

#include "ddpm/kernels/cuda/attention_few_pixels_kernels.h"
#include "ddpm/kernels/cuda/attention_tile.cuh"
#include "ddpm/kernels/cuda/cluster_exchange.cuh"
#include "ddpm/kernels/cuda/early_launch.cuh"

namespace ddpm::cuda {
namespace {

using namespace attention_tile;

constexpr int kMostParts = 8;     // blocks of a cluster
constexpr int kMostBlocks = 264;  // two on each of an H100's multiprocessors
constexpr float kLog2E = 1.4426950408889634F;

/// Queries of the tile whose sums a block adds up.
__host__ __device__ int queries_each(int parts) { return (kQueries + parts - 1) / parts; }

/// Bytes of what a block gets of a query from each part: sums, and a row's greatest and sum.
__host__ __device__ int query_bytes(const AttentionShape& shape) {
  return shape.channels * static_cast<int>(sizeof(float)) + static_cast<int>(sizeof(float4));
}

#if !defined(__CUDA_ARCH__) || __CUDA_ARCH__ >= 900

struct AttentionMemory {
  float* sums;   // [parts, queries_each, channels]
  float4* rows;  // [parts, queries_each]: greatest, sum
  T *queries, *keys, *values, *shares;

  __device__ AttentionMemory(const AttentionShape& shape, int parts, unsigned char* bytes) {
    const int slots = parts * queries_each(parts), stride = shape.channels + 8;
    sums = reinterpret_cast<float*>(bytes);
    rows = reinterpret_cast<float4*>(sums + slots * shape.channels);
    queries = reinterpret_cast<T*>(rows + slots);
    keys = queries + kQueries * stride;
    values = keys + kKeys * stride;
    shares = values + kKeys * stride;
  }
};

/// Where the sums of a query go.
struct QueryOwner {
  int block, slot;

  __device__ QueryOwner(int query, int part, int parts) {
    const int each = queries_each(parts);
    block = query / each;
    slot = part * each + query - block * each;
  }
  __device__ void send(const void* own, int part, uint32_t barrier, const float4& quad) const {
    const uint32_t to = shared_address(own);
    if (block == part) {
      store_quad(to, quad);
    } else {
      send_quad(address_in_block(to, block), address_in_block(barrier, block), quad);
    }
  }
};

/// Sends sums in quads: a lane takes one row of what it and its neighbour have.
__device__ void send_sums(const AttentionShape& shape, const AttentionMemory& memory, int part,
                          int parts, uint32_t barrier, const float (&sums)[kMostChannels / 64][4]) {
  const int warp = static_cast<int>(threadIdx.x) / 32, lane = static_cast<int>(threadIdx.x) % 32;
  const bool is_odd = lane % 2 == 1;
  const QueryOwner owner(lane / 4 + (is_odd ? 8 : 0), part, parts);
  const float* const first = memory.sums + owner.slot * shape.channels +
                             warp * (shape.channels / kWarps) + lane % 4 / 2 * 4;
#pragma unroll
  for (int n = 0; n < kMostChannels / 64; ++n) {
    if (n * 64 >= shape.channels) break;
    const float low = __shfl_xor_sync(~0U, is_odd ? sums[n][0] : sums[n][2], 1);
    const float high = __shfl_xor_sync(~0U, is_odd ? sums[n][1] : sums[n][3], 1);
    const float4 quad = is_odd ? float4{low, high, sums[n][2], sums[n][3]}
                               : float4{sums[n][0], sums[n][1], low, high};
    owner.send(first + n * 8, part, barrier, quad);
  }
}

/// Four channels of a query, from all parts.
__device__ float4 whole_of(const AttentionShape& shape, const AttentionMemory& memory, int parts,
                           int query, int channel) {
  const int each = queries_each(parts);
  float most = -INFINITY;
  for (int part = 0; part < parts; ++part) {
    most = fmaxf(most, memory.rows[part * each + query].x);
  }
  float4 sum{};
  float all = 0;
  for (int part = 0; part < parts; ++part) {
    const int slot = part * each + query;
    const float weight = exp2f(memory.rows[slot].x - most);
    all = fmaf(weight, memory.rows[slot].y, all);
    const float4 more =
        *reinterpret_cast<const float4*>(memory.sums + slot * shape.channels + channel);
    sum = {fmaf(weight, more.x, sum.x), fmaf(weight, more.y, sum.y), fmaf(weight, more.z, sum.z),
           fmaf(weight, more.w, sum.w)};
  }
  const float scale = 1.0F / all;
  return {sum.x * scale, sum.y * scale, sum.z * scale, sum.w * scale};
}

__device__ void write_queries(const AttentionShape& shape, const AttentionMemory& memory, int part,
                              int parts, T* y) {
  const int each = queries_each(parts), quads = shape.channels / 4;
  const int count = max(0, min(each, kQueries - part * each));
  const int image = static_cast<int>(blockIdx.z) / shape.heads;
  const int head = static_cast<int>(blockIdx.z) - image * shape.heads;
  const int64_t first = static_cast<int64_t>(image) * shape.length +
                        static_cast<int64_t>(blockIdx.y) * kQueries + part * each;
  for (int i = static_cast<int>(threadIdx.x); i < count * quads; i += kThreads) {
    const int query = i / quads, channel = (i - query * quads) * 4;
    const float4 whole = whole_of(shape, memory, parts, query, channel);
    auto* const to = reinterpret_cast<__nv_bfloat162*>(
        y + ((first + query) * shape.heads + head) * shape.channels + channel);
    to[0] = __floats2bfloat162_rn(whole.x, whole.y);
    to[1] = __floats2bfloat162_rn(whole.z, whole.w);
  }
}

__global__ void __launch_bounds__(kThreads)
    attend_kernel(AttentionShape shape, float scale, const T* qkv, T* y) {
  extern __shared__ __align__(128) unsigned char bytes[];
  __shared__ ArrivalBarrier arrivals;
  __shared__ RowStatistics statistics;
  const int part = static_cast<int>(blockIdx.x), parts = static_cast<int>(gridDim.x);
  if (threadIdx.x == 0) {
    const int own = max(0, min(queries_each(parts), kQueries - part * queries_each(parts)));
    arrivals.expect(static_cast<uint32_t>((parts - 1) * own * query_bytes(shape)));
  }
  __syncwarp();
  arrive_at_start();
  let_next_kernel_begin();
  const AttentionMemory memory(shape, parts, bytes);
  const AttentionPlace place(shape, qkv);
  wait_for_start();
  wait_for_previous_kernel();
  copy_rows(shape, place.queries, place.stride, kQueries, kQueries, memory.queries);
  copy_rows(shape, place.keys, place.stride, kKeys, place.keys_there, memory.keys);
  commit_copies();
  copy_rows(shape, place.values, place.stride, kKeys, place.keys_there, memory.values);
  commit_copies();
  wait_for_copies<1>();
  __syncthreads();
  float scores[4] = {};
  add_scores(shape, memory.queries, memory.keys, scores);
  take_exponents(scores, scale, place.keys_there, statistics, memory.shares);
  wait_for_copies<0>();
  __syncthreads();
  float sums[kMostChannels / 64][4] = {};
  add_values(shape, memory.shares, memory.values, sums);
  send_sums(shape, memory, part, parts, arrivals.address(), sums);
  if (threadIdx.x < kQueries) {
    const int query = static_cast<int>(threadIdx.x);
    const QueryOwner owner(query, part, parts);
    owner.send(memory.rows + owner.slot, part, arrivals.address(),
               {statistics.most_of(query), statistics.sum_of(query), 0, 0});
  }
  __syncthreads();  // what the block adds itself stands there
  arrivals.wait();
  write_queries(shape, memory, part, parts, y);
}

#else
__global__ void attend_kernel(AttentionShape, float, const T*, T*) {
  __trap();  // no clusters here: attention_has_few_pixels() says so
}
#endif

int parts_of(const AttentionShape& shape) { return (shape.length + kKeys - 1) / kKeys; }

int shared_bytes(const AttentionShape& shape) {
  const int parts = parts_of(shape), rows = kQueries + 2 * kKeys;
  return parts * queries_each(parts) * query_bytes(shape) +
         (rows * (shape.channels + 8) + kQueries * kScoreStride) * static_cast<int>(sizeof(T));
}

}  // namespace

bool attention_has_few_pixels(const AttentionShape& shape) {
  const int parts = parts_of(shape);
  return shape.channels >= 64 && shape.channels <= kMostChannels && shape.channels % 64 == 0 &&
         shape.length >= kQueries && shape.length % kQueries == 0 && parts <= kMostParts &&
         int64_t{shape.images} * shape.heads * (shape.length / kQueries) * parts <= kMostBlocks &&
         device_has_clusters();
}

cudaError_t attend_few_pixels(const AttentionShape& shape, const void* qkv, void* y,
                              cudaStream_t stream) {
  const int parts = parts_of(shape), bytes = shared_bytes(shape);
  const cudaError_t sized =
      cudaFuncSetAttribute(attend_kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes);
  if (sized != cudaSuccess) return sized;
  const EarlyLaunch launch{
      .blocks = dim3(static_cast<unsigned>(parts), static_cast<unsigned>(shape.length / kQueries),
                     static_cast<unsigned>(shape.images * shape.heads)),
      .threads = dim3(kThreads),
      .shared_bytes = bytes,
      .stream = stream,
      .cluster_blocks = static_cast<unsigned>(parts)};
  const auto scale = static_cast<float>(1.0 / std::sqrt(static_cast<double>(shape.channels)));
  return launch_early(launch, attend_kernel, shape, scale * kLog2E, static_cast<const T*>(qkv),
                      static_cast<T*>(y));
}

}  // namespace ddpm::cuda
