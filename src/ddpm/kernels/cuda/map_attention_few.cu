#include "ddpm/kernels/cuda/early_launch.cuh"
#include "ddpm/kernels/cuda/map_attention_few.cuh"
#include "ddpm/kernels/cuda/map_attention_few_keys.cuh"

namespace ddpm::cuda {
namespace {

using namespace map_attention_few;

constexpr float kScoreScale = 1.4426950408889634F / 16;  // log2(e) / sqrt(kMapChannels)
static_assert(kMapChannels == 16 * 16);

#if !defined(__CUDA_ARCH__) || __CUDA_ARCH__ >= 900

/// out = sums + bias + x for the block's queries, and the sums of that.
__device__ void write_result(const FewMapsAttention& a, Shared& shared, const Sums& sums,
                             const OfRows& bias, int image, int first) {
  const int lane = lane_index();
  uint32_t x[4];
  Pair pairs;
  load_turned_matrices(
      x, shared_address(&shared.pixels[first + lane % 8][warp_index() * kWarpRows + lane / 8 * 8]));
  const int64_t part = static_cast<int64_t>(image) * (a.pixels / kQueries) + first / kQueries;
  auto* const to_sums = reinterpret_cast<float2*>(a.sums) + part * kMapChannels;
#pragma unroll
  for (int i = 0; i < kTiles * 2; ++i) {
    const int tile = i / 2, half = i % 2;
    const float* const s = sums.of[tile] + 2 * half;
    const float added = bias.of[tile][half];
    const float2 residual = unrounded(x[i]);
    pairs[tile][half] = rounded(s[0] + added + residual.x, s[1] + added + residual.y);
    const float2 value = unrounded(pairs[tile][half]);
    float2 sum{value.x + value.y, fmaf(value.x, value.x, value.y * value.y)};
#pragma unroll
    for (int step = 1; step < 4; step *= 2) {
      sum.x += __shfl_xor_sync(~0U, sum.x, step);
      sum.y += __shfl_xor_sync(~0U, sum.y, step);
    }
    if (lane % 4 == 0) to_sums[lane_row(tile, half)] = sum;
  }
  put_turned(pairs, shared.queries);
  __syncthreads();
  const int query = warp_index(), channel = lane * kVector;
  T* const to = static_cast<T*>(a.out) +
                (static_cast<int64_t>(image) * a.pixels + first + query) * kMapChannels + channel;
  *reinterpret_cast<uint4*>(to) = *reinterpret_cast<const uint4*>(&shared.queries[query][channel]);
}
static_assert(kWarps == kQueries && kMapChannels == 32 * kVector);

/// Until the map is there: all of the first weight, half of the second, and the way of the rest to
/// shared memory.
struct Weights {
  WeightColumns<kMapChannels> score;
  WeightColumns<kKeptChannels> out;

  __device__ Weights(const FewMapsAttention& a, Shared& shared) {
    WeightColumns<kKeptChannels> kept;
    int i = 0;
    kept.each(a.out_weight, kMapChannels - kKeptChannels, [&](uint4&, const T* from) {
      copy_async_or_zero(&shared.weight[i++][threadIdx.x], from, true);
    });
    commit_copies();
    score.load(a.score_weight, 0);
    out.load(a.out_weight, 0);
  }
  __device__ void multiply_score(const Shared& shared, Sums& sums) const {
    Sums others;
    score.multiply(shared.normed, 0, sums, others);
    sums.add(others);
  }
  __device__ void multiply_out(const Shared& shared, Sums& sums) const {
    WeightColumns<kKeptChannels> kept;
    int i = 0;
    kept.each(nullptr, 0, [&](uint4& value, const T*) { value = shared.weight[i++][threadIdx.x]; });
    Sums others;
    out.multiply(shared.attended, 0, sums, others);
    kept.multiply(shared.attended, kMapChannels - kKeptChannels, sums, others);
    sums.add(others);
  }
};

__global__ void __launch_bounds__(kThreads, 1) attend_kernel(FewMapsAttention a) {
  extern __shared__ __align__(128) unsigned char bytes[];
  Shared& shared = *reinterpret_cast<Shared*>(bytes);
  let_next_kernel_begin();
  const int image = static_cast<int>(blockIdx.y), first = static_cast<int>(blockIdx.x) * kQueries;
  const Weights weights(a, shared);
  const ChannelNorm channel_norm(a.norm, image, a.pixels);
  const OfRows score_bias(a.score_bias), out_bias(a.out_bias);
  const Keys keys(shared, a.pixels);
  const T* const map =
      static_cast<const T*>(a.x) + static_cast<int64_t>(image) * a.pixels * kMapChannels;
  wait_for_previous_kernel();

  float2 parts[ChannelNorm::LaneParts::kLoads];
  channel_norm.begin(parts);
  T own[kQueries];
#pragma unroll
  for (int i = 0; i < kQueries; ++i) own[i] = map[(first + i) * kMapChannels + threadIdx.x];
  keys.copy(map);
  const float2 norm = channel_norm.find(parts);
  shared.norm[threadIdx.x] = norm;
#pragma unroll
  for (int i = 0; i < kQueries; ++i) {
    shared.normed[i][threadIdx.x] = T(fmaf(__bfloat162float(own[i]), norm.x, norm.y));
  }
  __syncthreads();

  Sums sums;
  weights.multiply_score(shared, sums);
  Pair pairs;
#pragma unroll
  for (int i = 0; i < kTiles * 2; ++i) {
    const int tile = i / 2, half = i % 2;
    const float* const s = sums.of[tile] + 2 * half;
    const float factor = kScoreScale * shared.norm[lane_row(tile, half)].x;
    const float bias = score_bias.of[tile][half];
    pairs[tile][half] = rounded(factor * (s[0] + bias), factor * (s[1] + bias));
  }
  put_turned(pairs, shared.queries);
  __syncthreads();

  Sums scores, attended, result;
  keys.multiply(scores);
  take_exponents(shared, keys, scores);
  sum_pixels(shared, a.pixels, attended);
  const float2 all = over_warps(shared.sum, [](float x, float y) { return x + y; });
#pragma unroll
  for (int i = 0; i < kTiles * 2; ++i) {
    const int tile = i / 2, half = i % 2;
    const float* const s = attended.of[tile] + 2 * half;
    const float2 of_row = shared.norm[lane_row(tile, half)];
    pairs[tile][half] =
        rounded(fmaf(s[0] / all.x, of_row.x, of_row.y), fmaf(s[1] / all.y, of_row.x, of_row.y));
  }
  put_turned(pairs, shared.attended);
  wait_for_copies<0>();  // of the thread's part of the weight
  __syncthreads();
  weights.multiply_out(shared, result);
  write_result(a, shared, result, out_bias, image, first);
}

#else
__global__ void attend_kernel(FewMapsAttention) {
  __trap();  // not taken: has_map_attention() says so
}
#endif

}  // namespace

bool attends_few_maps(int pixels, int groups) {
  const int group_channels = groups > 0 ? kMapChannels / groups : 0;
  const bool shares_a_warp = group_channels == 1 || group_channels == 2 || group_channels == 4 ||
                             group_channels == 8 || group_channels == 16 || group_channels == 32;
  return pixels > 0 && pixels <= kMapPixels && pixels % kTileRows == 0 && shares_a_warp &&
         groups * group_channels == kMapChannels;
}

cudaError_t attend_few_maps(const FewMapsAttention& attention, cudaStream_t stream) {
  constexpr int kBytes = static_cast<int>(sizeof(Shared));
  const cudaError_t sized =
      cudaFuncSetAttribute(attend_kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, kBytes);
  if (sized != cudaSuccess) return sized;
  return launch_early({.blocks = dim3(static_cast<unsigned>(attention.pixels / kQueries),
                                      static_cast<unsigned>(attention.images)),
                       .threads = dim3(kThreads),
                       .shared_bytes = kBytes,
                       .stream = stream},
                      attend_kernel, attention);
}

}  // namespace ddpm::cuda
