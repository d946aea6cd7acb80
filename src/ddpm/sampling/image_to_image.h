#pragma once

#include "ddpm/config/sample_config.h"
#include "ddpm/core/tensor.h"
#include "ddpm/sampling/denoiser.h"
#include "ddpm/sampling/sampler.h"

namespace ddpm {

/// The levels of the last part of a sampler's steps: round(strength * n) of its n, at least one.
///
/// @return that many levels and the image.
/// @throws std::invalid_argument unless 0 < strength <= 1, or as make_levels does.
std::vector<NoiseLevel> last_levels(const NoiseSchedule& schedule, const SamplerOptions& options,
                                    double strength);

/// Image to image [SDEdit]: the source is noised to the level where the last part of the sampler's
/// steps begins, and these are taken. What the noise drowns is drawn anew; the rest stays.
///
/// At strength 1 every step is taken, from noise alone: sample() of the same request, bit for bit.
/// Noise is keyed as there, so a request's image is the same in any batch.
///
/// @param source   [N or 1, C, H, W] float32 in [-1, 1], on the request's device.
/// @param strength part of the steps that is taken, above 0 and at most 1.
/// @return         [N, C, H, W] float32.
/// @throws std::invalid_argument as last_levels and make_sampler_plan do, or if the source does not
///         fit the request.
Tensor image_to_image(const Denoiser& model, const SamplerOptions& options, const Tensor& source,
                      double strength, const SampleRequest& request, const TraceFn& trace = {});

}  // namespace ddpm
