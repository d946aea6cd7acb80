#pragma once

#include "ddpm/core/tensor.h"

namespace ddpm {

/// table[rows[i]] = values[i], in one kernel on a GPU, where LibTorch sorts the rows first so that
/// repeated ones come in order.
///
/// @param table  [M, ...] contiguous.
/// @param rows   [N] int64 on the table's device, 0 <= rows[i] < M, no two alike; not checked.
/// @param values [N, ...] of the table's dtype.
/// @throws std::invalid_argument if a shape or dtype is not as above.
void put_rows(const Tensor& table, const Tensor& rows, const Tensor& values);

/// Row rows[i] of a table, in a kernel on a GPU behind which the next begins early. As
/// index_select() it stops the GPU at a row that the table lacks.
///
/// @param table [M, ...] contiguous.
/// @param rows  [N] int64 on the table's device.
/// @return      [N, ...]
/// @throws std::invalid_argument if a shape or dtype is not as above.
Tensor take_rows(const Tensor& table, const Tensor& rows);

}  // namespace ddpm
