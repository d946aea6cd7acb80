#pragma once

#include <cuda_runtime.h>

// Sums of channels in two rows [2, channels] of a map's type: rounded, and what rounding left, so
// that sums of sums do not add up roundings. The first row is what everyone else reads.
namespace ddpm::cuda {

/// Into nothing, if nobody wants them.
template <typename T>
__device__ __forceinline__ void store_split(T* sums, int channels, int channel, float sum) {
  if (sums == nullptr) return;
  const T rounded = static_cast<T>(sum);
  sums[channel] = rounded;
  sums[channels + channel] = static_cast<T>(sum - static_cast<float>(rounded));
}

/// 0 if there are none.
template <typename T>
__device__ __forceinline__ float load_split(const T* sums, int channels, int channel) {
  if (sums == nullptr) return 0;
  return static_cast<float>(sums[channel]) + static_cast<float>(sums[channels + channel]);
}

}  // namespace ddpm::cuda
