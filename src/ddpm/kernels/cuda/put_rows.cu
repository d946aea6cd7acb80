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
__global__ void __launch_bounds__(kThreads)
    take_kernel(int64_t rows, int64_t units, int64_t table_rows, const int64_t* places,
                const Unit* table, Unit* values) {
  let_next_kernel_begin();
  wait_for_previous_kernel();
  const int64_t step = static_cast<int64_t>(gridDim.x) * kThreads;
  for (int64_t i = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x; i < rows * units;
       i += step) {
    const int64_t row = i / units, place = places[row];
    if (place < 0 || place >= table_rows) __trap();
    values[i] = table[place * units + (i - row * units)];
  }
}

template <typename Unit>
EarlyLaunch launch_of(const PutRowsShape& shape, cudaStream_t stream) {
  const int64_t units = shape.bytes / static_cast<int64_t>(sizeof(Unit));
  const int64_t blocks = std::min((shape.rows * units + kThreads - 1) / kThreads, kMostBlocks);
  return {.blocks = dim3(static_cast<unsigned>(blocks)),
          .threads = dim3(kThreads),
          .shared_bytes = 0,
          .stream = stream};
}

template <typename Unit>
cudaError_t put(const PutRowsShape& shape, const int64_t* places, const void* values, void* table,
                cudaStream_t stream) {
  return launch_early(launch_of<Unit>(shape, stream), put_kernel<Unit>, shape.rows,
                      shape.bytes / static_cast<int64_t>(sizeof(Unit)), places,
                      static_cast<const Unit*>(values), static_cast<Unit*>(table));
}

template <typename Unit>
cudaError_t take(const PutRowsShape& shape, int64_t table_rows, const int64_t* places,
                 const void* table, void* values, cudaStream_t stream) {
  return launch_early(launch_of<Unit>(shape, stream), take_kernel<Unit>, shape.rows,
                      shape.bytes / static_cast<int64_t>(sizeof(Unit)), table_rows, places,
                      static_cast<const Unit*>(table), static_cast<Unit*>(values));
}

bool is_by_vectors(const PutRowsShape& shape, const void* table, const void* values) {
  const auto is_whole = [](uintptr_t number) { return number % sizeof(uint4) == 0; };
  return is_whole(static_cast<uintptr_t>(shape.bytes)) &&
         is_whole(reinterpret_cast<uintptr_t>(values)) &&
         is_whole(reinterpret_cast<uintptr_t>(table));
}

}  // namespace

cudaError_t put_rows(const PutRowsShape& shape, const int64_t* places, const void* values,
                     void* table, cudaStream_t stream) {
  return is_by_vectors(shape, table, values)
             ? put<uint4>(shape, places, values, table, stream)
             : put<unsigned char>(shape, places, values, table, stream);
}

cudaError_t take_rows(const PutRowsShape& shape, int64_t table_rows, const int64_t* places,
                      const void* table, void* values, cudaStream_t stream) {
  return is_by_vectors(shape, table, values)
             ? take<uint4>(shape, table_rows, places, table, values, stream)
             : take<unsigned char>(shape, table_rows, places, table, values, stream);
}

}  // namespace ddpm::cuda
