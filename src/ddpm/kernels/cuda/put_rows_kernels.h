#pragma once

#include <cstdint>
#include <cuda_runtime_api.h>

namespace ddpm::cuda {

struct PutRowsShape {
  int64_t rows = 0;
  int64_t bytes = 0;  ///< Of a row.
};

/// table[places[i]] = values[i]. Rows of whole 16 bytes, at multiples of them, go 16 at a time.
cudaError_t put_rows(const PutRowsShape& shape, const int64_t* places, const void* values,
                     void* table, cudaStream_t stream);

/// values[i] = table[places[i]], likewise. A place that is none of the table's rows traps.
cudaError_t take_rows(const PutRowsShape& shape, int64_t table_rows, const int64_t* places,
                      const void* table, void* values, cudaStream_t stream);

}  // namespace ddpm::cuda
