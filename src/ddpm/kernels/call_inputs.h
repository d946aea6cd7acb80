#pragma once

#include "ddpm/core/tensor.h"

namespace ddpm {

/// What a call of a network reads.
struct CallInputs {
  Tensor x;                  ///< [N, C, H, W] float or bfloat16.
  Tensor t;                  ///< [N]
  Tensor class_labels = {};  ///< [N] or undefined.
};

/// Copies a call's inputs to where a captured call reads them, x rounded to the dtype there; on a
/// GPU all in one kernel.
///
/// @param to tensors of the same sizes, on the same device; t and class_labels of the same dtypes.
void copy_call_inputs(const CallInputs& from, const CallInputs& to);

}  // namespace ddpm
