#pragma once

#include <cuda_runtime_api.h>

namespace ddpm::cuda {

// A 3x3 convolution of an upsampled map (nearest) is, of the map itself, four convolutions of 2x2
// taps, one a phase of the result, or a transposed one of 4x4 taps and stride 2. With taps t, s of
// the 3x3 kernel, for a dimension:
//
//     taps of 4:  w4[0] = w[2], w4[1] = w[1] + w[2], w4[2] = w[0] + w[1], w4[3] = w[0]
//     phase a:    w2[u] = w4[3 - a - 2 u]

/// Both are multiples of 32.
struct UpsampledWeightShape {
  int out_channels = 0, in_channels = 0;
};

/// A weight [out, 3, 3, in] as both, in bf16, summed in float32.
///
/// @param phases [4 phases, out, 2, 2, in]
/// @param taps   [in, 4, 4, out]
cudaError_t expand_upsampled_weight(const UpsampledWeightShape& shape, const void* weight,
                                    void* phases, void* taps, cudaStream_t stream);

inline constexpr int kMostTapGradients = 16;

/// Gradients [in, 4, 4, out] of taps, which are added up.
struct TapGradients {
  const void* parts[kMostTapGradients] = {};
  int count = 0;
};

/// The gradient [out, 3, 3, in] of the weight, in bf16, summed in float32.
cudaError_t collapse_tap_gradients(const UpsampledWeightShape& shape, const TapGradients& d_taps,
                                   void* d_weight, cudaStream_t stream);

}  // namespace ddpm::cuda
