#include "ddpm/kernels/put_rows.h"

#include <ATen/ATen.h>

#include "ddpm/core/check.h"
#ifdef DDPM_CUDA
#include "ddpm/kernels/cuda/put_rows_function.h"
#endif

namespace ddpm {
namespace {

void check_table(const char* function, const Tensor& table) {
  check_arg(table.dim() >= 1 && table.is_contiguous(), "[", function,
            "] table: expected a contiguous tensor of rows, got ", table.sizes(), " with strides ",
            table.strides());
}

}  // namespace

void put_rows(const Tensor& table, const Tensor& rows, const Tensor& values) {
  check_table("put_rows", table);
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

Tensor take_rows(const Tensor& table, const Tensor& rows) {
  check_table("take_rows", table);
  check_arg(rows.dim() == 1 && rows.scalar_type() == at::kLong,
            "[take_rows] rows: expected [N] Long, got ", rows.sizes(), " ", rows.scalar_type());
#ifdef DDPM_CUDA
  if (table.is_cuda()) return cuda::take_rows_at_once(table, rows);
#endif
  return table.index_select(/*dim=*/0, rows);
}

}  // namespace ddpm
