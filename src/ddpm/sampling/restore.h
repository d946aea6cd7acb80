#pragma once

#include "ddpm/config/edit_config.h"
#include "ddpm/config/sample_config.h"
#include "ddpm/core/tensor.h"
#include "ddpm/sampling/denoiser.h"
#include "ddpm/sampling/linear_operator.h"
#include "ddpm/sampling/sampler.h"

namespace ddpm {

/// What is known of the images to draw: y = A x_0 + sigma_y noise, sigma_y of RestoreOptions.
struct LinearMeasurement {
  LinearOperator op;
  Tensor y;  ///< [N or 1, ...] float32, as op.apply gives it.
};

/// Inpainting as a measurement: what the mask leaves of the source.
///
/// @param source [N or 1, C, H, W] float32 in [-1, 1]; not read where the mask is 1.
/// @param mask   [1, 1, H, W]: 1 is painted, 0 is kept.
/// @throws std::invalid_argument if the mask has another shape, or a value is neither 0 nor 1.
LinearMeasurement kept_part(const Tensor& source, const Tensor& mask);

/// Draws images that agree with a measurement, with a network that was never trained for it.
/// After each step to a level of sigma >= tau, tau = sigma_y / s the noise of A^+ y, what was
/// measured is replaced [RePaint Eq. 8; DDRM Sec. 4.1 at eta_b = 1]; P = A^+ A, p = alpha_bar:
///
///     x = (1 - P) x + P (sqrt(p) A^+ y + sqrt(1 - p - p tau^2) noise)
///
/// so that it is y, noised to the level reached. At tau it is y as it came: a noisy image like any
/// other, from which the sampler's own steps lead on. Without noise in y the result has A x = y; a
/// kept part is the source itself.
///
/// Resampling [RePaint Alg. 1]: steps are counted from the image in blocks of jump_length. Each is
/// taken `resamples` times, with x noised back to the block's beginning in between, so that the
/// drawn part comes to agree with the measured one. A block that begins with noise alone, or below
/// tau, is taken once. The result is exact only where what was measured says nothing about the
/// rest; else it leans towards what the network would draw without y, the less the more often
/// blocks are taken and the shorter they are.
///
/// Takes the samplers whose steps stand alone: a multistep one would mix values from before and
/// after a change of x. Draw k of a run has the key (seed, image, k).
///
/// @return [N, C, H, W] float32.
/// @throws std::invalid_argument if y does not fit the request, the sampler is a multistep one, an
///         option is out of range, tau is above the first level's sigma, or resamples > 1 and there
///         are no more than jump_length steps.
Tensor restore(const Denoiser& model, const SamplerOptions& options,
               const LinearMeasurement& measurement, const RestoreOptions& restore_options,
               const SampleRequest& request, const TraceFn& trace = {});

/// Network calls of restore(), without making them.
///
/// @param singular_value of the measurement's operator.
int64_t count_restore_calls(const Denoiser& model, const SamplerOptions& options,
                            const RestoreOptions& restore_options, double singular_value);

}  // namespace ddpm
