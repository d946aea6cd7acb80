#include <cuda_bf16.h>

#include "ddpm/kernels/cuda/early_launch.cuh"
#include "ddpm/kernels/cuda/group_norm_sums_kernels.h"

namespace ddpm::cuda {
namespace {

using bf16 = __nv_bfloat16;

constexpr int kThreads = 256;
constexpr int kVector = 8;  // channels of 16 bytes

/// A block for a part: each thread has eight channels and every so many pixels.
__global__ void __launch_bounds__(kThreads)
    sum_parts_kernel(SumsShape shape, const bf16* map, float2* sums) {
  __shared__ float2 rows[kThreads * kVector];  // [row, channel]
  let_next_kernel_begin();
  wait_for_previous_kernel();
  const int vectors = shape.channels / kVector, num_rows = kThreads / vectors;
  const int row = threadIdx.x / vectors, vector = threadIdx.x % vectors;
  const bf16* part = map + static_cast<int64_t>(blockIdx.x) * kSumPixels * shape.channels;
  if (row < num_rows) {
    float2 own[kVector] = {};
    for (int pixel = row; pixel < kSumPixels; pixel += num_rows) {
      const uint4 values = reinterpret_cast<const uint4*>(part + pixel * shape.channels)[vector];
      const uint32_t twos[4] = {values.x, values.y, values.z, values.w};
#pragma unroll
      for (int i = 0; i < kVector; ++i) {
        const float value =
            __uint_as_float(i % 2 == 0 ? twos[i / 2] << 16 : twos[i / 2] & 0xFFFF0000U);
        own[i] = {own[i].x + value, fmaf(value, value, own[i].y)};
      }
    }
#pragma unroll
    for (int i = 0; i < kVector; ++i) rows[row * shape.channels + vector * kVector + i] = own[i];
  }
  __syncthreads();
  for (int channel = threadIdx.x; channel < shape.channels; channel += kThreads) {
    float2 sum{0, 0};
    for (int r = 0; r < num_rows; ++r) {
      const float2 more = rows[r * shape.channels + channel];
      sum = {sum.x + more.x, sum.y + more.y};
    }
    sums[static_cast<int64_t>(blockIdx.x) * shape.channels + channel] = sum;
  }
}

struct Moments {
  double sum, squares;
};

/// Those of so many values to each of which `added` was added.
__device__ Moments with_added(const Moments& of, double added, double count) {
  return {of.sum + count * added, of.squares + added * (2 * of.sum + count * added)};
}

/// A block for an image.
__global__ void __launch_bounds__(kThreads) norm_from_sums_kernel(NormFromSums from, float2* norm) {
  extern __shared__ Moments of_channel[];
  let_next_kernel_begin();
  wait_for_previous_kernel();
  const int channels = from.channels + from.rest_channels, parts = from.pixels / kSumPixels;
  const int64_t image = blockIdx.x;
  const auto value = [&](const void* table, int64_t at) {
    return static_cast<double>(__bfloat162float(static_cast<const bf16*>(table)[at]));
  };
  const auto time = [&](int c) {
    if (from.time_embedding == nullptr) return 0.0;
    return value(from.time_embedding, image * from.time_embedding_stride + c);
  };
  for (int c = threadIdx.x; c < channels; c += kThreads) {
    const bool is_rest = c >= from.channels;
    const int own = is_rest ? from.rest_channels : from.channels;
    const auto* sums = reinterpret_cast<const float2*>(is_rest ? from.rest_sums : from.sums) +
                       image * parts * own + (is_rest ? c - from.channels : c);
    Moments moments{0, 0};
#pragma unroll 8
    for (int p = 0; p < parts; ++p) {
      const float2 part = sums[static_cast<int64_t>(p) * own];
      moments = {moments.sum + part.x, moments.squares + part.y};
    }
    of_channel[c] = with_added(moments, time(c), from.pixels);
  }
  __syncthreads();
  const int group_channels = channels / from.groups;
  Moments* of_group = of_channel + channels;  // mean and 1 / deviation
  for (int g = threadIdx.x; g < from.groups; g += kThreads) {
    Moments moments{0, 0};
    for (int c = g * group_channels; c < (g + 1) * group_channels; ++c) {
      moments = {moments.sum + of_channel[c].sum, moments.squares + of_channel[c].squares};
    }
    const double count = static_cast<double>(from.pixels) * group_channels;
    const double mean = moments.sum / count;
    const double variance = fmax(moments.squares / count - mean * mean, 0.0);
    of_group[g] = {mean, 1.0 / sqrt(variance + static_cast<double>(from.eps))};
    if (from.mean != nullptr) from.mean[image * from.groups + g] = static_cast<float>(mean);
    if (from.rstd != nullptr) {
      from.rstd[image * from.groups + g] = static_cast<float>(of_group[g].squares);
    }
  }
  __syncthreads();
  for (int c = threadIdx.x; c < channels; c += kThreads) {
    const Moments of = of_group[c / group_channels];
    double a = of.squares * value(from.weight, c), b = value(from.bias, c) + (time(c) - of.sum) * a;
    if (from.scale != nullptr) {
      const double scale = 1.0 + value(from.scale, image * from.scale_stride + c);
      a *= scale;
      b = b * scale + value(from.shift, image * from.scale_stride + c);
    }
    norm[image * channels + c] = {static_cast<float>(a), static_cast<float>(b)};
  }
}

}  // namespace

cudaError_t sum_parts(const SumsShape& shape, const void* map, float* sums, cudaStream_t stream) {
  const int parts = shape.images * (shape.pixels / kSumPixels);
  return launch_early({.blocks = dim3(static_cast<unsigned>(parts)),
                       .threads = dim3(kThreads),
                       .shared_bytes = 0,
                       .stream = stream},
                      sum_parts_kernel, shape, static_cast<const bf16*>(map),
                      reinterpret_cast<float2*>(sums));
}

cudaError_t norm_from_sums(const NormFromSums& from, float* norm, cudaStream_t stream) {
  const int moments = from.channels + from.rest_channels + from.groups;
  return launch_early({.blocks = dim3(static_cast<unsigned>(from.images)),
                       .threads = dim3(kThreads),
                       .shared_bytes = static_cast<int>(sizeof(Moments)) * moments,
                       .stream = stream},
                      norm_from_sums_kernel, from, reinterpret_cast<float2*>(norm));
}

}  // namespace ddpm::cuda
