#pragma once

#include "ddpm/kernels/cuda/conv2d_warpgroup_tile.cuh"

namespace ddpm::cuda::warpgroup {

/// How the result of half of each of kFourImages maps of 4x4 lies in shared memory: image by image,
/// those that a block of the cluster writes together.
template <typename Form>
struct RowsOfFour {
  static constexpr int kImages = kFourImages / Form::kSplit;  // that a block writes
  static constexpr int kOfImage = 8, kOwn = kImages * kOfImage;

  /// Images are 16 bytes more apart, so that banks differ.
  static __device__ unsigned char* at(Shared<Form>& shared, int row) {
    return shared.result[row] + row / kOfImage * 16;
  }
  /// The image of a row: a block has some of the first eight, and the same of the others.
  static __device__ int image(const Tile<Form>& tile, int row) {
    constexpr int kHalf = kImages / 2;
    const int rank = row / kOwn, own = row / kOfImage % kImages;
    return tile.image + rank * kHalf + own % kHalf + own / kHalf * 8;
  }
  /// The place in the result.
  static __device__ int64_t place(const Tile<Form>& tile, int row) {
    const int pixel = row % kOfImage;
    return static_cast<int64_t>(image(tile, row)) * 16 + pixel / 2 * 4 + tile.x + pixel % 2;
  }
};

}  // namespace ddpm::cuda::warpgroup
