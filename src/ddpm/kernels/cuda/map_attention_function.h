#pragma once

#include "ddpm/kernels/cuda/map_attention_kernels.h"
#include "ddpm/kernels/cuda/map_part_sums.h"
#include "ddpm/kernels/map_attention.h"

namespace ddpm::cuda {

/// Whether attend_map() takes the maps, and is faster than several kernels.
bool takes_map_attention(const Tensor& x, const GroupNormSiluArgs& norm);

/// map_attention(), which leaves the sums that the next norm needs with its result.
///
/// @param saved      Room for what the backward pass needs.
/// @param statistics The norm's come here; null: nobody wants them.
Tensor run_map_attention(const MapAttentionArgs& args, const MapAttentionSaved& saved = {},
                         NormStatistics* statistics = nullptr);

}  // namespace ddpm::cuda
