#pragma once

#include <optional>

#include "ddpm/config/guidance_config.h"
#include "ddpm/core/tensor.h"
#include "ddpm/diffusion/noise_schedule.h"
#include "ddpm/sampling/denoise_fn.h"

namespace ddpm {

/// The answer `strong`, driven away from `weak` by the scale s, then rescaled by phi:
///
///     guided = weak + s (strong - weak)                     [CFG Eq. 6, with s = w + 1]
///     guided = phi std(strong) / std(guided) guided + (1 - phi) guided    [ZSNR Eq. 14 to 16]
///
/// The deviations are each image's own, in the space of the network's output. s = 1 is off and
/// gives `strong`, s = 0 gives `weak`. Sums of this kind mean the same for eps, x_0 and v. Of a
/// learned variance, the channels are those of `strong`.
///
/// @param strong,weak [N, C, H, W], or [N, 2 C, H, W] with a learned variance.
/// @param channels    C.
/// @return            like strong, in its dtype.
/// @throws std::invalid_argument if the shapes differ, or have neither C nor 2 C channels.
Tensor guide(const GuidanceOptions& options, const Tensor& strong, const Tensor& weak,
             int64_t channels);

/// As guide, for images that each have their own scale and rescale; the intervals are not looked
/// at.
///
/// @param options [N]
/// @throws std::invalid_argument as guide does, or unless there is one option an image.
Tensor guide_each(at::ArrayRef<const GuidanceOptions*> options, const Tensor& strong,
                  const Tensor& weak, int64_t channels);

/// The timesteps at which an interval of sigmas guides, both ends included.
struct GuidedTimesteps {
  double first = 0;
  double last = 0;

  bool contains(double t) const { return t >= first && t <= last; }
};

/// @return nothing where the interval is empty: guide everywhere.
/// @throws std::invalid_argument unless the interval is empty or two ascending sigmas that hold
///         some of the schedule's.
std::optional<GuidedTimesteps> guided_timesteps(const NoiseSchedule& schedule,
                                                const GuidanceOptions& options);

/// @throws std::invalid_argument if the scale is negative or rescale leaves [0, 1].
void check_guidance(const GuidanceOptions& options);

/// Classifier-free guidance: strong is the answer for the class, weak the one without a class, both
/// from one batch. Where the scale is 1, or no image's level lies within the interval of sigmas
/// [Kynkaanniemi et al. 2024], `conditional` alone is called.
///
/// @param conditional the network with its N class labels.
/// @param both        the same network for a batch of 2 N: the class labels, then N times none.
/// @throws std::invalid_argument if an option is out of range, or the interval is not empty and not
///         two ascending sigmas.
DenoiseFn classifier_free_guidance(const NoiseSchedule& schedule, const GuidanceOptions& options,
                                   const DenoiseFn& conditional, const DenoiseFn& both);

/// Autoguidance [Karras et al. 2024]: weak is the answer of a smaller or less trained network for
/// the same task, prediction and schedule. Interval, scale and errors as above.
DenoiseFn autoguidance(const NoiseSchedule& schedule, const GuidanceOptions& options,
                       const DenoiseFn& network, const DenoiseFn& weaker);

}  // namespace ddpm
