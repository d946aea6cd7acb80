#pragma once

#include <cstdint>
#include <vector>

#include "ddpm/core/tensor.h"
#include "ddpm/diffusion/noise_schedule.h"

namespace ddpm {

/// One image at one level of the forward process.
struct ForwardFrame {
  int64_t t = -1;        ///< -1: x_0 itself.
  double alpha_bar = 1;  ///< Of the level.
  double snr = 0;        ///< alpha_bar / (1 - alpha_bar); infinite for x_0.
  Tensor x_t = {};       ///< [1, C, H, W] like x_start.
};

/// Timesteps from x_0 to T - 1, evenly spaced: -1, .., T - 1.
///
/// @throws std::invalid_argument unless 2 <= count <= T + 1.
std::vector<int64_t> even_timesteps(int64_t count, int64_t num_timesteps);

/// An image becoming noise: q_sample at each of the timesteps, with one noise at all levels, so
/// that one picture drowns and not many.
///
/// @param x_start   [1, C, H, W] float32, pixels in [-1, 1].
/// @param timesteps -1 (x_0) to T - 1.
/// @param seed      of the noise.
/// @throws std::invalid_argument if a timestep leaves that range, or as q_sample does.
std::vector<ForwardFrame> forward_frames(const NoiseSchedule& schedule, const Tensor& x_start,
                                         const std::vector<int64_t>& timesteps, uint64_t seed);

/// How many values of x lie in each of kHistogramBins equal parts of [-kHistogramLimit,
/// kHistogramLimit]; those beyond count at the ends.
///
/// @return [kHistogramBins] like x.
Tensor pixel_histogram(const Tensor& x);
inline constexpr int64_t kHistogramBins = 64;
inline constexpr double kHistogramLimit = 3.0;

}  // namespace ddpm
