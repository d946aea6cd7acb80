#pragma once

#include "ddpm/kernels/call_inputs.h"

namespace ddpm::cuda {

/// Whether one kernel copies them: x of float or bfloat16 into a channels_last map of these, dense
/// timesteps and labels.
bool copies_call_inputs_at_once(const CallInputs& from, const CallInputs& to);
void copy_call_inputs_at_once(const CallInputs& from, const CallInputs& to);

}  // namespace ddpm::cuda
