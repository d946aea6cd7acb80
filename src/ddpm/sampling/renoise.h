#pragma once

#include "ddpm/core/tensor.h"
#include "ddpm/sampling/levels.h"
#include "ddpm/sampling/sampler.h"

namespace ddpm {

/// Draws a state of a noisier level from one of a cleaner level: several links of the noising chain
/// at once [DDPM Eq. 2, 4], with a and p the alpha_bar of `to` and `from`:
///
///     sqrt(a / p) x + sqrt(1 - a / p) noise
///
/// @param x     [N, C, H, W] float32: a state of level `from`, an image where its alpha_bar is 1.
/// @param noise like x, standard normal.
/// @throws std::invalid_argument if `to` is cleaner than `from`.
Tensor renoise(const Tensor& x, const NoiseLevel& from, const NoiseLevel& to, const Tensor& noise);

/// A source of editing, once for each image of the request.
///
/// @param source [N, C, H, W] or [1, C, H, W] float32, on the request's device.
/// @throws std::invalid_argument in the name of `function` unless source has a shape of these.
Tensor source_of_each(const char* function, const Tensor& source, const SampleRequest& request);

}  // namespace ddpm
