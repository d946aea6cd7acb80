#include "ddpm/kernels/put_rows.h"

#include <ATen/ATen.h>

#include "ddpm/core/check.h"
#ifdef DDPM_CUDA
#include "ddpm/kernels/cuda/put_rows_function.h"
#endif

namespace ddpm {

void put_rows(const Tensor& table, const Tensor& rows, const Tensor& values) {
  check_arg(table.dim() >= 1 && table.is_contiguous(), "[put_rows] table: expected a contiguous ",
            "tensor of rows, got ", table.sizes(), " with strides ", table.strides());
  check_arg(
      rows.dim() == 1 && rows.scalar_type() == at::kLong && values.dim() == table.dim() &&
          values.size(0) == rows.size(0) && values.sizes().slice(1) == table.sizes().slice(1) &&
          values.scalar_type() == table.scalar_type(),
      "[put_rows] values: expected a row like those of ", table.sizes(), " ", table.scalar_type(),
      " for each of ", rows.sizes(), " Long, got ", values.sizes(), " ", values.scalar_type());
#ifdef DDPM_CUDA
  if (table.is_cuda()) return cuda::put_rows_at_once(table, rows, values.contiguous());
#endif
  table.index_copy_(/*dim=*/0, rows, values);
}

}  // namespace ddpm
