#pragma once

#include <cmath>
#include <limits>
#include <vector>

#include "ddpm/config/sample_config.h"
#include "ddpm/diffusion/noise_schedule.h"

namespace ddpm {

/// How much noise a state x holds: x = sqrt(alpha_bar) x_0 + sqrt(1 - alpha_bar) eps. Samplers know
/// a network's levels by this alone; t is what the network is told.
struct NoiseLevel {
  double t = -1;         ///< Timestep, fractional between the schedule's; -1 for the image itself.
  double alpha_bar = 1;  ///< 1 for the image itself.
};

/// Scale of x_0 and of eps in a state of this level; together they have length 1.
inline double signal_scale(const NoiseLevel& level) { return std::sqrt(level.alpha_bar); }
inline double noise_scale(const NoiseLevel& level) { return std::sqrt(1 - level.alpha_bar); }

/// The map between the two views of one process. States here are always of the first:
///
///     variance preserving:  x     = sqrt(alpha_bar) x_0 + sqrt(1 - alpha_bar) eps
///     EDM, k-diffusion:     x_edm = x_0 + sigma eps = x / sqrt(alpha_bar)
///     sigma = sqrt((1 - alpha_bar) / alpha_bar),  alpha_bar = 1 / (1 + sigma^2)  [EDM Table 1, VP]
///
/// sigma is 0 for the image and infinite where alpha_bar is 0.
inline double edm_sigma(double alpha_bar) { return std::sqrt((1 - alpha_bar) / alpha_bar); }
inline double alpha_bar_of_sigma(double sigma) { return 1 / (1 + sigma * sigma); }

/// lambda = log(sqrt(alpha_bar) / sqrt(1 - alpha_bar)) = -log(sigma): the time in which exponential
/// integrators are written [DPM-Solver Sec. 3]. Infinite at both ends.
inline double lambda_of(double alpha_bar) { return -std::log(edm_sigma(alpha_bar)); }

/// A schedule's levels, and those between them.
struct LevelTable {
  std::vector<double> alphas_cumprod;  ///< alpha_bar_t for t = 0 .. T-1.
  std::vector<double> log_sigmas;      ///< log(sigma_t), ascending; the last may be infinite.
};
LevelTable make_level_table(const NoiseSchedule& schedule);

/// The level of a timestep. Between two timesteps log(sigma) is a straight line.
///
/// @throws std::invalid_argument unless 0 <= t <= T - 1, or if t lies after the last level that has
///         signal.
NoiseLevel level_at_timestep(const LevelTable& table, double t);

/// The level of a sigma, with the timestep that level_at_timestep maps to it; 0 or T - 1 for a
/// sigma outside of the table, whose alpha_bar is kept.
///
/// @throws std::invalid_argument unless sigma is positive and finite.
NoiseLevel level_at_sigma(const LevelTable& table, double sigma);

/// The levels that a sampler visits, from noise to image: n as options.levels says, then the image,
/// or with final_sigma = sigma_min the schedule's first timestep, if the list is not there already.
/// With r = options.rho and both ends sigma_max and sigma_min (of the schedule where they are 0):
///
///     timesteps:      those of make_timesteps(options.spacing, T, n); with drop_last, leading and
///                     linspace those of n + 1 less the last; leading ones raised by steps_offset
///     auto:           resolve_levels()'s
///     karras:         sigma_i = (max^(1/r) + i/(n-1) (min^(1/r) - max^(1/r)))^r   [EDM Eq. 5]
///     exponential,    log(sigma_i) in equal steps, which are equal steps of lambda too: the same
///     uniform_lambda: list by its two names
///
/// @return n + 1 levels (or n, see above), two or more, alpha_bar strictly ascending.
/// @throws std::invalid_argument if n leaves 1 .. T (T - 1 with drop_last; any n >= 1 for sigmas),
///         steps_offset leads beyond T - 1, sigma_min and sigma_max do not ascend within the
///         schedule, a sigma spacing is asked of a schedule with zero terminal SNR, a list of it
///         does not begin at T - 1, or the list would hold the first timestep alone.
std::vector<NoiseLevel> make_levels(const NoiseSchedule& schedule, const SamplerOptions& options);

/// With levels = auto replaced: by karras with sigma_max 80 (unless another is given) for heun,
/// dpm_2s, dpm_3s, pndm and plms on a schedule whose last sigma is finite and above 200, because
/// they go wrong between sigmas that far apart (docs/samplers.md); by timesteps elsewhere.
SamplerOptions resolve_levels(const NoiseSchedule& schedule, SamplerOptions options);

/// The number n of levels that `options` asks for: options.steps, or where that is 0 the sampler's
/// default: T for ddpm, else 50 for first-order samplers and 20 to 30 for others, at most T. It is
/// one more than the steps of a list that final_sigma = sigma_min leaves at n levels.
///
/// @throws std::invalid_argument if steps is negative or, for timesteps, above num_timesteps.
int64_t count_sampler_steps(const SamplerOptions& options, int64_t num_timesteps);

}  // namespace ddpm
