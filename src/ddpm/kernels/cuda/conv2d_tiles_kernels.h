#pragma once

#include <cuda_runtime_api.h>

namespace ddpm::cuda {

/// A convolution's weight [out, k, k, in] of bf16: in a multiple of 32, out of 128; turned the
/// other way round.
struct TilesShape {
  int out_channels = 0;
  int in_channels = 0;
  int taps = 0;         ///< k k
  bool turned = false;  ///< For the gradient of what comes in: [in, k, k, out], its taps backwards.
};

/// The weight as conv2d_warpgroup_kernels.h reads it.
///
/// @param weight starts at a multiple of 16 bytes.
/// @param tiles  [out / 128, in / 32, taps, 4, 128, 8]; turned: [in / 128, out / 32, taps, 4, 128,
/// 8].
cudaError_t pack_conv2d_tiles(const TilesShape& shape, const void* weight, void* tiles,
                              cudaStream_t stream);

}  // namespace ddpm::cuda
