#include <cuda_bf16.h>

#include "ddpm/kernels/cuda/early_launch.cuh"
#include "ddpm/kernels/cuda/small_products_kernels.h"
#include "ddpm/kernels/cuda/tensor_core.cuh"

namespace ddpm::cuda {
namespace {

using bf16 = __nv_bfloat16;

constexpr int kTile = 64;  // of a product, by one block
constexpr int kThreads = 256, kWarp = 32, kWarps = kThreads / kWarp;
constexpr int kDeep = 128;         // of both sides in shared memory at once
constexpr int kPitch = kDeep + 8;  // so that rows differ in their banks
constexpr int kStepK = 16;         // of a product of tensor cores

/// Rows of a, or columns of b, along what is summed.
using Side = bf16[kTile][kPitch];

/// A thread's part of side[i][k] = matrix[first + i][deep + k], or [deep + k][first + i]: asked for
/// at once, sixteen bytes each, and then put there.
struct SideVectors {
  static constexpr int kEight = 8, kCount = kTile * kDeep / kEight / kThreads;

  uint4 vectors[kCount];
  bool along_rows;

  __device__ SideVectors(const void* matrix, bool is_along_rows, int first, int deep, int size)
      : along_rows(is_along_rows) {
#pragma unroll
    for (int i = 0; i < kCount; ++i) {
      const int row = along_rows ? first + outer(i) : deep + outer(i);
      const int column = along_rows ? deep + inner(i) : first + inner(i);
      vectors[i] =
          *reinterpret_cast<const uint4*>(static_cast<const bf16*>(matrix) + row * size + column);
    }
  }
  __device__ void put(Side& side) const {
#pragma unroll
    for (int i = 0; i < kCount; ++i) {
      if (along_rows) {
        *reinterpret_cast<uint4*>(&side[outer(i)][inner(i)]) = vectors[i];
        continue;
      }
      const auto* values = reinterpret_cast<const bf16*>(&vectors[i]);
#pragma unroll
      for (int k = 0; k < kEight; ++k) side[inner(i) + k][outer(i)] = values[k];
    }
  }

 private:
  /// Of vector i: its row and column in what is read.
  __device__ int outer(int i) const { return index(i) / width(); }
  __device__ int inner(int i) const { return index(i) % width() * kEight; }
  __device__ int width() const { return (along_rows ? kDeep : kTile) / kEight; }
  static __device__ int index(int i) { return static_cast<int>(threadIdx.x) + i * kThreads; }
};

/// Of a warp: 16 rows of the tile, 32 columns.
__device__ void multiply_sides(float (&sums)[4][4], const Side& a, const Side& b) {
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const int warp = static_cast<int>(threadIdx.x) / kWarp;
  const int row = warp / 2 * 16, column = warp % 2 * 32;
#pragma unroll
  for (int k = 0; k < kDeep; k += kStepK) {
    uint32_t left[4], right[4];
    load_matrices(left, shared_address(&a[row + lane % 16][k + lane / 16 * 8]));
#pragma unroll
    for (int pair = 0; pair < 2; ++pair) {
      const int own = column + pair * 16 + lane / 16 * 8 + lane % 8;
      load_matrices(right, shared_address(&b[own][k + lane / 8 % 2 * 8]));
      multiply_add(sums[2 * pair], left, right);
      multiply_add(sums[2 * pair + 1], left, right + 2);
    }
  }
}

__device__ void multiply_tile(const SmallProduct& product, int size, Side& a, Side& b) {
  const int tiles = size / kTile, tile = static_cast<int>(blockIdx.x);
  const int first_row = tile / tiles * kTile, first_column = tile % tiles * kTile;
  float sums[4][4] = {};
  for (int deep = 0; deep < size; deep += kDeep) {
    const SideVectors left(product.a.values, !product.a.turned, first_row, deep, size);
    const SideVectors right(product.b.values, product.b.turned, first_column, deep, size);
    __syncthreads();
    left.put(a);
    right.put(b);
    __syncthreads();
    multiply_sides(sums, a, b);
  }
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const int warp = static_cast<int>(threadIdx.x) / kWarp;
#pragma unroll
  for (int j = 0; j < 4; ++j) {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const int row = first_row + warp / 2 * 16 + lane / 4 + i / 2 * 8;
      const int column = first_column + warp % 2 * 32 + j * 8 + lane % 4 * 2 + i % 2;
      float sum = sums[j][i];
      if (product.column != nullptr) {
        sum += __bfloat162float(static_cast<const bf16*>(product.column)[row]) *
               __bfloat162float(static_cast<const bf16*>(product.row)[column]);
      }
      static_cast<bf16*>(product.out)[row * size + column] = __float2bfloat16(sum);
    }
  }
}

/// A warp for each of the block's rows, one after the other.
__device__ void multiply_vector(const SmallVectorProduct& product, int size) {
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const int tiles = size / kTile, rows = kTile / tiles;
  const auto* matrix = static_cast<const bf16*>(product.matrix.values);
  const auto* vector = static_cast<const bf16*>(product.vector);
  for (int i = static_cast<int>(threadIdx.x) / kWarp; i < rows; i += kWarps) {
    const int row = static_cast<int>(blockIdx.x) * rows + i;
    float sum = 0;
#pragma unroll 8
    for (int k = lane; k < size; k += kWarp) {
      const bf16 value = product.matrix.turned ? matrix[k * size + row] : matrix[row * size + k];
      sum = fmaf(__bfloat162float(value), __bfloat162float(vector[k]), sum);
    }
#pragma unroll
    for (int step = kWarp / 2; step > 0; step /= 2) sum += __shfl_xor_sync(~0U, sum, step);
    if (lane != 0) continue;
    if (product.added != nullptr) {
      sum += __bfloat162float(static_cast<const bf16*>(product.added)[row]);
    }
    static_cast<bf16*>(product.out)[row] = __float2bfloat16(sum);
  }
}

/// It writes weights, so it lets no kernel begin (early_launch.cuh).
__global__ void __launch_bounds__(kThreads)
    small_products_kernel(const __grid_constant__ SmallProducts products) {
  __shared__ __align__(16) Side a, b;
  wait_for_previous_kernel();
  const int which = static_cast<int>(blockIdx.y);
  if (which < products.count) {
    multiply_tile(products.products[which], products.size, a, b);
  } else {
    multiply_vector(products.vector_products[which - products.count], products.size);
  }
}

}  // namespace

cudaError_t multiply_small(const SmallProducts& products, cudaStream_t stream) {
  const auto tiles = static_cast<unsigned>(products.size / kTile);
  return launch_early(
      {.blocks = dim3(tiles * tiles, static_cast<unsigned>(products.count + products.vector_count)),
       .threads = dim3(kThreads),
       .shared_bytes = 0,
       .stream = stream},
      small_products_kernel, products);
}

}  // namespace ddpm::cuda
