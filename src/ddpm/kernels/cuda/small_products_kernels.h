#pragma once

#include <cuda_runtime_api.h>

namespace ddpm::cuda {

inline constexpr int kMostProducts = 16, kMostVectorProducts = 16;

/// A matrix of bf16 as it stands, or turned: then rows are columns.
struct SmallMatrix {
  const void* values = nullptr;
  bool turned = false;
};

/// out = a b + column row, all [size, size]; column and row [size] may be null together.
struct SmallProduct {
  SmallMatrix a, b;
  const void* column = nullptr;
  const void* row = nullptr;
  void* out = nullptr;
};

/// out [size] = matrix vector + added; added may be null.
struct SmallVectorProduct {
  SmallMatrix matrix;
  const void* vector = nullptr;
  const void* added = nullptr;
  void* out = nullptr;
};

/// Products of square matrices, so small that to launch one for each takes longer than they do.
/// All values are bf16, sums are float32 and rounded once.
struct SmallProducts {
  int size = 0;  ///< Of every matrix's sides: 128, 256, 512 or 1024. Rows are aligned to 16 bytes.
  int count = 0, vector_count = 0;
  SmallProduct products[kMostProducts];
  SmallVectorProduct vector_products[kMostVectorProducts];
};

cudaError_t multiply_small(const SmallProducts& products, cudaStream_t stream);

}  // namespace ddpm::cuda
