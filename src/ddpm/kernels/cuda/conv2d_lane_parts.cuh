#pragma once

#include <cuda_runtime.h>

namespace ddpm::cuda::conv2d_tile {

/// What a lane sums of the sums that a map carries: values and squares of a channel.
struct LaneParts {
  static constexpr int kLoads = 8;

  const float2* from;
  int count, step;

  /// Those from `first` on, all under way at once.
  __device__ void load(int first, float2 (&loaded)[kLoads]) const {
#pragma unroll
    for (int i = 0; i < kLoads; ++i) {
      loaded[i] = first + i < count ? __ldcg(from + (first + i) * step) : make_float2(0, 0);
    }
  }
  static __device__ float2 add(float2 sum, const float2 (&loaded)[kLoads]) {
#pragma unroll
    for (int i = 0; i < kLoads; ++i) sum = {sum.x + loaded[i].x, sum.y + loaded[i].y};
    return sum;
  }
  __device__ float2 add_all(float2 sum, int first = 0) const {
#pragma unroll 1
    for (; first < count; first += kLoads) {
      float2 loaded[kLoads];
      load(first, loaded);
      sum = add(sum, loaded);
    }
    return sum;
  }
};

}  // namespace ddpm::cuda::conv2d_tile
