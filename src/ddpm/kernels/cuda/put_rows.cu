#include <algorithm>

#include "ddpm/kernels/cuda/early_launch.cuh"
#include "ddpm/kernels/cuda/put_rows_kernels.h"

namespace ddpm::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int64_t kMostBlocks = 4096;

/// @param units of a row.
template <typename Unit>
__global__ void __launch_bounds__(kThreads)
    put_kernel(int64_t rows, int64_t units, const int64_t* places, const Unit* values,
               Unit* table) {
  wait_for_previous_kernel();
  const int64_t step = static_cast<int64_t>(gridDim.x) * kThreads;
  for (int64_t i = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x; i < rows * units;
       i += step) {
    const int64_t row = i / units;
    table[places[row] * units + (i - row * units)] = values[i];
  }
}

template <typename Unit>
cudaError_t put(const PutRowsShape& shape, const int64_t* places, const void* values, void* table,
                cudaStream_t stream) {
  const int64_t units = shape.bytes / static_cast<int64_t>(sizeof(Unit));
  const int64_t blocks = std::min((shape.rows * units + kThreads - 1) / kThreads, kMostBlocks);
  return launch_early({.blocks = dim3(static_cast<unsigned>(blocks)),
                       .threads = dim3(kThreads),
                       .shared_bytes = 0,
                       .stream = stream},
                      put_kernel<Unit>, shape.rows, units, places, static_cast<const Unit*>(values),
                      static_cast<Unit*>(table));
}

}  // namespace

cudaError_t put_rows(const PutRowsShape& shape, const int64_t* places, const void* values,
                     void* table, cudaStream_t stream) {
  const auto is_whole = [](uintptr_t number) { return number % sizeof(uint4) == 0; };
  const bool by_vectors = is_whole(static_cast<uintptr_t>(shape.bytes)) &&
                          is_whole(reinterpret_cast<uintptr_t>(values)) &&
                          is_whole(reinterpret_cast<uintptr_t>(table));
  return by_vectors ? put<uint4>(shape, places, values, table, stream)
                    : put<unsigned char>(shape, places, values, table, stream);
}

}  // namespace ddpm::cuda
