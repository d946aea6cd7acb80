#pragma once

#include "ddpm/config/sample_config.h"
#include "ddpm/core/tensor.h"
#include "ddpm/sampling/denoiser.h"
#include "ddpm/sampling/sampler.h"

namespace ddpm {

/// Spherical interpolation between two points, each a whole tensor [Shoemake 1985], with angle the
/// one between them:
///
///     sin((1 - weight) angle) / sin(angle) a + sin(weight angle) / sin(angle) b
///
/// Between independent noises it stays as long as they are, where a straight line would be
/// shorter: the middle of two noises is noise too. Exactly `a` at weight 0 and `b` at 1; a straight
/// line where the angle is (nearly) 0.
///
/// @param a,b    any shape, float32.
/// @param weight 0 to 1.
/// @throws std::invalid_argument if the shapes differ, or the points lie opposite each other.
Tensor slerp(const Tensor& a, const Tensor& b, double weight);

/// `count` points from a to b, both included, as a batch.
///
/// @param a,b [1, C, H, W] float32.
/// @return    [count, C, H, W].
/// @throws std::invalid_argument as slerp does, or if count is below 2.
Tensor slerp_path(const Tensor& a, const Tensor& b, int64_t count);

/// Draws images from given noise by a sampler that takes none in its steps: the decoder of noise.
/// From initial_noise of a request it makes the images of sample().
///
/// @param noise [N, C, H, W] float32: x_T.
/// @throws std::invalid_argument as make_sampler_plan does, or if the sampler takes noise.
Tensor decode(const Denoiser& model, const SamplerOptions& options, const Tensor& noise,
              const TraceFn& trace = {});

/// The sampler that leads images to noise and back: DDIM at eta = 0 over the levels of `options`,
/// without clipping, which would bend the path. All else in `options` is left out.
SamplerOptions path_sampler(const SamplerOptions& options);

/// The noises on the path between two images [DDIM Sec. 5.3]: points of the path between what
/// path_sampler encodes the two to. decode() by path_sampler makes images of them, whose ends come
/// as close to the two as the list of levels is long.
///
/// @param model  for a batch of 2: as its class labels say.
/// @param images [2, C, H, W] float32 in [-1, 1], on the network's device.
/// @return       [count, C, H, W] float32.
/// @throws std::invalid_argument as slerp_path and make_inversion_plan do, or unless there are two
///         images.
Tensor noise_path(const Denoiser& model, const SamplerOptions& options, const Tensor& images,
                  int64_t count);

}  // namespace ddpm
