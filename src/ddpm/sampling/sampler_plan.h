#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

#include "ddpm/config/diffusion_config.h"
#include "ddpm/config/sample_config.h"
#include "ddpm/diffusion/noise_schedule.h"
#include "ddpm/sampling/levels.h"

namespace ddpm {

/// Tensors, each like x, that a sampler keeps from one network call to a later one.
inline constexpr std::size_t kMemorySlots = 5;

/// A linear combination of what is known after a network call:
///
///     x * x_t + pred_x_start * pred_x_start + sum_k memory[k] * memory_k + noise * noise
struct UpdateRow {
  double x = 0;
  double pred_x_start = 0;
  std::array<double, kMemorySlots> memory{};
  double noise = 0;
};

/// memory[slot] becomes `row` of the state before the call's update.
struct MemoryWrite {
  std::size_t slot = 0;
  UpdateRow row = {};
};

/// log(sigma^2) of a step for v = -1 and v = 1: log(beta_tilde) and log(beta).
struct LogVarianceRange {
  double lowest = 0;
  double highest = 0;
};

/// One network call of a sampler and what is made of its answer, as numbers: all but the images.
///
///     pred_x_start = clip(x_start_from_x_t * x + x_start_from_output * output)
///     x            = next (x, pred_x_start, memory, noise)
///
/// eps appears only as (x - sqrt(alpha_bar) pred_x_start) / sqrt(1 - alpha_bar), so it is always
/// the one that belongs to the clipped pred_x_start.
struct SamplerCall {
  NoiseLevel level;       ///< Of x, where the network is evaluated.
  NoiseLevel next_level;  ///< Of the x that the call makes.
  double x_start_from_x_t = 0;
  double x_start_from_output = 0;
  UpdateRow next = {};
  std::vector<MemoryWrite> writes = {};
  /// True if the new x is a state of the sampler's path, false for an inner stage of a step (of
  /// Heun's method, say). Traces show states; images are changed from outside only there.
  bool ends_step = true;
  /// Step of the Philox key of the call's noise, different in each call that takes noise: the
  /// timestep where all of the plan's timesteps are whole and different, else the call's index.
  uint32_t noise_step = 0;
  /// With a learned variance, next.noise is multiplied by exp(log(sigma^2) / 2), where log(sigma^2)
  /// goes from lowest to highest as the network's v goes from -1 to 1 [IDDPM Eq. 15].
  std::optional<LogVarianceRange> learned_log_variance = {};
};

/// A sampler over one list of levels: its network calls, first to last. Begins with an x of level
/// calls.front().level; pure noise serves where that is (nearly) all noise.
struct SamplerPlan {
  std::vector<SamplerCall> calls;
  bool whole_timesteps = true;    ///< False: the network takes fractional t, as float32.
  bool learned_variance = false;  ///< The network answers [N, 2 C, ...]: prediction, then v.

  /// Calls that end a step.
  int64_t num_steps() const;
};

/// The plan of options.kind over the levels of make_levels. The formulas stand in
/// sampling/sampler_families.h.
///
/// @throws std::invalid_argument as make_levels does, if an option leaves its range, or if the
///         schedule has zero terminal SNR and the prediction is epsilon or edm.
SamplerPlan make_sampler_plan(const NoiseSchedule& schedule, PredictionType prediction,
                              const SamplerOptions& options);

/// As above, over any list of levels: alpha_bar strictly ascending, two or more; the last one need
/// not be the image.
SamplerPlan make_sampler_plan(const NoiseSchedule& schedule, PredictionType prediction,
                              const SamplerOptions& options, const std::vector<NoiseLevel>& levels);

/// The plan that leads from an image up to noise [DDIM Sec. 4.3]: DDIM at eta = 0 over the list of
/// make_levels in reverse. Its first call takes the image in the place of an x of the lowest level.
///
/// @throws std::invalid_argument as make_sampler_plan does, or unless final_sigma is zero.
SamplerPlan make_inversion_plan(const NoiseSchedule& schedule, PredictionType prediction,
                                const SamplerOptions& options);

}  // namespace ddpm
