#pragma once

#include "ddpm/core/tensor.h"

namespace ddpm::cuda {

/// put_rows() of contiguous tensors on a GPU.
void put_rows_at_once(const Tensor& table, const Tensor& rows, const Tensor& values);
/// take_rows() of one.
Tensor take_rows_at_once(const Tensor& table, const Tensor& rows);

}  // namespace ddpm::cuda
