#include "ddpm/kernels/cuda/put_rows_function.h"

#include <ATen/ATen.h>
#include <c10/cuda/CUDAException.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>

#include <vector>

#include "ddpm/kernels/cuda/put_rows_kernels.h"

namespace ddpm::cuda {

void put_rows_at_once(const Tensor& table, const Tensor& rows, const Tensor& values) {
  if (values.numel() == 0) return;
  const c10::cuda::CUDAGuard guard(table.device());
  const auto bytes = static_cast<int64_t>(values.nbytes()) / values.size(0);
  C10_CUDA_CHECK(put_rows({.rows = values.size(0), .bytes = bytes},
                          rows.contiguous().const_data_ptr<int64_t>(), values.const_data_ptr(),
                          table.mutable_data_ptr(), c10::cuda::getCurrentCUDAStream()));
}

Tensor take_rows_at_once(const Tensor& table, const Tensor& rows) {
  const c10::cuda::CUDAGuard guard(table.device());
  std::vector<int64_t> sizes = table.sizes().vec();
  sizes.front() = rows.size(0);
  const Tensor values = at::empty(sizes, table.options());
  if (values.numel() == 0) return values;
  const auto bytes = static_cast<int64_t>(values.nbytes()) / values.size(0);
  C10_CUDA_CHECK(take_rows({.rows = values.size(0), .bytes = bytes}, table.size(0),
                           rows.contiguous().const_data_ptr<int64_t>(), table.const_data_ptr(),
                           values.mutable_data_ptr(), c10::cuda::getCurrentCUDAStream()));
  return values;
}

}  // namespace ddpm::cuda
