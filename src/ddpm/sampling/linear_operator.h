#pragma once

#include <functional>

#include "ddpm/core/tensor.h"

namespace ddpm {

/// A measurement y = A x of images whose rows are orthogonal and of one length: A A^T = s^2 I. Its
/// singular values are all s, and A^T A / s^2 projects onto what was measured, so its singular
/// basis need not be written out. Reduction, colour to grey and masks are of this kind.
struct LinearOperator {
  std::function<Tensor(const Tensor& x)> apply;           ///< A x.
  std::function<Tensor(const Tensor& y)> pseudo_inverse;  ///< A^T y / s^2: an x with A x = y.
  double singular_value = 1;                              ///< s.
};

/// The mean of each square of factor x factor pixels: [N, C, H, W] -> [N, C, H / f, W / f]. s is
/// 1 / factor; the pseudo-inverse repeats pixels. Height and width must be multiples of factor.
///
/// @throws std::invalid_argument if factor is below 1, and when called with another size.
LinearOperator box_reduction(int64_t factor);

/// The mean of the channels: [N, C, H, W] -> [N, 1, H, W]. s is 1 / sqrt(C); the pseudo-inverse
/// repeats the channel.
///
/// @throws std::invalid_argument if channels is below 1, and when called with another number.
LinearOperator channel_mean(int64_t channels);

/// The pixels that `kept` marks; y has 0 at the others. s is 1.
///
/// @param kept [1, 1, H, W]: 1 kept, 0 not measured.
/// @throws std::invalid_argument if a value is neither 0 nor 1.
LinearOperator pixel_mask(const Tensor& kept);

}  // namespace ddpm
