#include <algorithm>
#include <cuda_bf16.h>

#include "ddpm/kernels/cuda/early_launch.cuh"
#include "ddpm/kernels/cuda/group_norm_sums_kernels.h"

namespace ddpm::cuda {
namespace {

using bf16 = __nv_bfloat16;

constexpr int kThreads = 256;
constexpr int kNormThreads = 512;
constexpr int kGroupLanes = 16;  // that add up a group
constexpr int kWarpGroups = 32 / kGroupLanes;
constexpr int kVector = 8;  // channels of 16 bytes

/// A block for a part: each thread has eight channels and every so many pixels.
__global__ void __launch_bounds__(kThreads)
    sum_parts_kernel(int pixels, int channels, const uint4* map, float2* sums) {
  __shared__ float2 rows[kThreads * kVector];  // [row, channel]
  let_next_kernel_begin();
  const int vectors = channels / kVector, num_rows = kThreads / vectors;
  const int row = static_cast<int>(threadIdx.x) / vectors;
  const int vector = static_cast<int>(threadIdx.x) - row * vectors;
  const uint4* const part = map + static_cast<int64_t>(blockIdx.x) * pixels * vectors + vector;
  wait_for_previous_kernel();
  if (row < num_rows) {
    float2 own[kVector] = {};
#pragma unroll 4
    for (int pixel = row; pixel < pixels; pixel += num_rows) {
      const uint4 values = part[pixel * vectors];
      const uint32_t twos[4] = {values.x, values.y, values.z, values.w};
#pragma unroll
      for (int i = 0; i < kVector; ++i) {
        const float value =
            __uint_as_float(i % 2 == 0 ? twos[i / 2] << 16 : twos[i / 2] & 0xFFFF0000U);
        own[i] = {own[i].x + value, fmaf(value, value, own[i].y)};
      }
    }
#pragma unroll
    for (int i = 0; i < kVector; ++i) rows[row * channels + vector * kVector + i] = own[i];
  }
  __syncthreads();
  for (int channel = static_cast<int>(threadIdx.x); channel < channels; channel += kThreads) {
    float2 sum{0, 0};
    for (int r = 0; r < num_rows; ++r) {
      const float2 more = rows[r * channels + channel];
      sum = {sum.x + more.x, sum.y + more.y};
    }
    sums[static_cast<int64_t>(blockIdx.x) * channels + channel] = sum;
  }
}

/// Of values that lie in `of`: each thread has one channel of some of the parts.
__device__ float2 add_parts(const NormFromSums& from, int64_t image, int channel, int first_part,
                            int step) {
  const bool is_rest = channel >= from.channels;
  const int own = is_rest ? from.rest_channels : from.channels;
  const int parts = is_rest ? from.rest_parts : from.parts;
  const auto* sums = reinterpret_cast<const float2*>(is_rest ? from.rest_sums : from.sums) +
                     image * parts * own + (is_rest ? channel - from.channels : channel);
  float2 sum{0, 0};
#pragma unroll 4
  for (int part = first_part; part < parts; part += step) {
    const float2 more = sums[static_cast<int64_t>(part) * own];
    sum = {sum.x + more.x, sum.y + more.y};
  }
  return sum;
}

/// A group's mean and 1 / deviation, by kGroupLanes lanes.
__device__ float2 group_statistics(const NormFromSums& from, const float2* sums, int slices,
                                   int group) {
  const int channels = from.channels + from.rest_channels, of_group = channels / from.groups;
  double sum = 0, squares = 0;
  for (int i = threadIdx.x % kGroupLanes; i < of_group * slices; i += kGroupLanes) {
    const float2 more = sums[i / of_group * channels + group * of_group + i % of_group];
    sum += more.x;
    squares += more.y;
  }
  for (int lanes = kGroupLanes / 2; lanes > 0; lanes /= 2) {
    sum += __shfl_xor_sync(0xFFFFFFFFU, sum, lanes);
    squares += __shfl_xor_sync(0xFFFFFFFFU, squares, lanes);
  }
  const double share = 1.0 / (static_cast<double>(from.pixels) * of_group), mean = sum * share;
  const auto variance = static_cast<float>(fmax(squares * share - mean * mean, 0.0));
  return {static_cast<float>(mean), rsqrtf(variance + from.eps)};
}

/// The sums of as many values, to each of which `added` was added.
__device__ float2 with_added(float2 sums, float added, float count) {
  const float more = count * added;
  return {sums.x + more, sums.y + added * (2.0F * sums.x + more)};
}

/// A block for an image.
__global__ void __launch_bounds__(kNormThreads)
    norm_from_sums_kernel(NormFromSums from, int slices, float2* norm) {
  extern __shared__ float2 shared[];
  let_next_kernel_begin();
  wait_for_previous_kernel();
  const int channels = from.channels + from.rest_channels;
  const int64_t image = blockIdx.x;
  const auto value = [](const void* table, int64_t at) {
    return __bfloat162float(static_cast<const bf16*>(table)[at]);
  };
  const auto time = [&](int c) {
    if (from.time_embedding == nullptr) return 0.0F;
    return value(from.time_embedding, image * from.time_embedding_stride + c);
  };
  // What is added counts in equal shares, whatever parts a slice has: they add up.
  const float pixels = static_cast<float>(from.pixels) / static_cast<float>(slices);
  for (int i = threadIdx.x; i < channels * slices; i += kNormThreads) {
    const int c = i % channels, slice = i / channels;
    shared[i] = with_added(add_parts(from, image, c, slice, slices), time(c), pixels);
  }
  __syncthreads();
  float2* statistics = shared + channels * slices;
  const int rounded = (from.groups + kWarpGroups - 1) / kWarpGroups * kWarpGroups;
  for (int group = threadIdx.x / kGroupLanes; group < rounded;
       group += kNormThreads / kGroupLanes) {
    const float2 of = group_statistics(from, shared, slices, min(group, from.groups - 1));
    if (threadIdx.x % kGroupLanes != 0 || group >= from.groups) continue;
    statistics[group] = of;
    if (from.mean != nullptr) from.mean[image * from.groups + group] = of.x;
    if (from.rstd != nullptr) from.rstd[image * from.groups + group] = of.y;
  }
  __syncthreads();
  for (int c = threadIdx.x; c < channels; c += kNormThreads) {
    const float2 of = statistics[c / (channels / from.groups)];
    float a = of.y * value(from.weight, c), b = value(from.bias, c) + (time(c) - of.x) * a;
    if (from.scale != nullptr) {
      const float scale = 1.0F + value(from.scale, image * from.scale_stride + c);
      a *= scale;
      b = b * scale + value(from.shift, image * from.scale_stride + c);
    }
    norm[image * channels + c] = {a, b};
  }
}

}  // namespace

int parts_of_at_most(int most_pixels, const SumsShape& shape) {
  int pixels = std::min(shape.pixels, most_pixels);
  while (shape.pixels % pixels != 0) --pixels;
  return shape.pixels / pixels;
}

cudaError_t sum_parts(const SumsShape& shape, int parts, const void* map, float* sums,
                      cudaStream_t stream) {
  return launch_early({.blocks = dim3(static_cast<unsigned>(shape.images * parts)),
                       .threads = dim3(kThreads),
                       .shared_bytes = 0,
                       .stream = stream},
                      sum_parts_kernel, shape.pixels / parts, shape.channels,
                      static_cast<const uint4*>(map), reinterpret_cast<float2*>(sums));
}

cudaError_t norm_from_sums(const NormFromSums& from, float* norm, cudaStream_t stream) {
  const int channels = from.channels + from.rest_channels;
  const int slices =
      std::clamp(kNormThreads / channels, 1, std::max({from.parts, from.rest_parts, 1}));
  return launch_early(
      {.blocks = dim3(static_cast<unsigned>(from.images)),
       .threads = dim3(kNormThreads),
       .shared_bytes = static_cast<int>(sizeof(float2)) * (channels * slices + from.groups),
       .stream = stream},
      norm_from_sums_kernel, from, slices, reinterpret_cast<float2*>(norm));
}

}  // namespace ddpm::cuda
