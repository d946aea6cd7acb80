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

  friend bool operator==(const TilesShape&, const TilesShape&) = default;
};

/// The weight as conv2d_warpgroup_kernels.h reads it.
///
/// @param weight starts at a multiple of 16 bytes.
/// @param tiles  [out / 128, in / 32, taps, 4, 128, 8]; turned: [in / 128, out / 32, taps, 4, 128,
/// 8].
cudaError_t pack_conv2d_tiles(const TilesShape& shape, const void* weight, void* tiles,
                              cudaStream_t stream);

/// A weight of several that are packed at once, as pack_conv2d_tiles takes it.
struct TilesEntry {
  TilesShape shape;
  const void* weight = nullptr;
  void* tiles = nullptr;
  int first_block = 0;  ///< of conv2d_tiles_blocks() in a row that pack it.
};

/// Several weights; both arrays lie on the device.
struct TilesTable {
  const TilesEntry* entries = nullptr;
  const int* entry_of_block = nullptr;  ///< [blocks]
  int blocks = 0;                       ///< of all entries
};

/// Thread blocks that pack such a weight.
int conv2d_tiles_blocks(const TilesShape& shape);

/// pack_conv2d_tiles of all entries, in one launch.
cudaError_t pack_all_conv2d_tiles(const TilesTable& table, cudaStream_t stream);

}  // namespace ddpm::cuda
