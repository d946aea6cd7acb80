#pragma once

#include "ddpm/core/tensor.h"

namespace ddpm {

/// What q_sample_uint8 reads; all on one device.
struct QSampleUint8Args {
  Tensor images;                          ///< [B, C, H, W] uint8.
  Tensor flip;                            ///< [B] bool: mirror left to right; undefined: none.
  Tensor t;                               ///< [B] int64, 0 <= t < T; not checked, to never stall.
  Tensor noise;                           ///< [B, C, H, W] float32, standard normal.
  Tensor sqrt_alphas_cumprod;             ///< [T] float32, cast from the float64 table.
  Tensor sqrt_one_minus_alphas_cumprod;   ///< [T] float32, cast from the float64 table.
  at::ScalarType x_t_dtype = at::kFloat;  ///< kFloat or kBFloat16 (rounded once, at the end).
};

/// A training batch after q_sample_uint8; both channels_last.
struct NoisedBatch {
  Tensor x_start;  ///< [B, C, H, W] float32, pixels in [-1, 1].
  Tensor x_t;      ///< [B, C, H, W] of x_t_dtype.
};

/// The x_start of q_sample_uint8 alone, for images that are changed before they are noised.
///
/// @param images [B, C, H, W] uint8.
/// @param flip   [B] bool: mirror left to right; undefined: none.
/// @return       [B, C, H, W] float32, channels_last, pixels in [-1, 1].
Tensor x_start_of_pixels(const Tensor& images, const Tensor& flip);

/// From stored pixels to a training batch [DDPM Eq. 4], computed in float32:
///
///     x_start = pixel / 127.5 - 1, mirrored where flip says so
///     x_t     = sqrt(alpha_bar_t) * x_start + sqrt(1 - alpha_bar_t) * noise
///
/// A GPU makes both in one kernel, with the bits of a CPU.
///
/// @throws std::invalid_argument if a shape or dtype is not as above.
NoisedBatch q_sample_uint8(const QSampleUint8Args& args);

}  // namespace ddpm
