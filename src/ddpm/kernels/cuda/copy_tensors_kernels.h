#pragma once

#include <cstdint>
#include <cuda_runtime_api.h>

namespace ddpm::cuda {

inline constexpr int kMostCopies = 64;

struct TensorCopy {
  const void* from = nullptr;
  void* to = nullptr;
  int64_t bytes = 0;
};
struct TensorCopies {
  int count = 0;
  TensorCopy of[kMostCopies];
};

/// All of them in one kernel; those that begin at multiples of 16 bytes go 16 bytes at a time.
cudaError_t copy_each(const TensorCopies& copies, cudaStream_t stream);

}  // namespace ddpm::cuda
