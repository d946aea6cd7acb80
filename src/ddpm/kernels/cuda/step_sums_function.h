#pragma once

#include "ddpm/kernels/step_sums.h"

namespace ddpm::cuda {

/// add_losses as one kernel.
void fused_add_losses(StepLosses& step, const MicroBatchLosses& losses, const WholeBatch& batch,
                      bool is_first);

/// add_step as one kernel.
void fused_add_step(StepStatistics& statistics, const StepLosses& losses, const Tensor& step,
                    const Tensor& grad_norm, const Tensor& nonfinite_in_a_row);

}  // namespace ddpm::cuda
