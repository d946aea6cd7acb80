#pragma once

#include "ddpm/kernels/q_sample_uint8.h"

namespace ddpm::cuda {

/// True for a batch on a GPU, unless a gradient of the noise is wanted.
bool q_sample_is_fused(const QSampleUint8Args& args);

/// q_sample_uint8 as one kernel.
/// @param args checked.
NoisedBatch fused_q_sample(const QSampleUint8Args& args);

}  // namespace ddpm::cuda
