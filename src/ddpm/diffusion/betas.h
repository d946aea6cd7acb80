#pragma once

#include <cstdint>
#include <vector>

#include "ddpm/config/diffusion_config.h"
#include "ddpm/core/tensor.h"

namespace ddpm {

/// The betas of `config`: its schedule, then its zero_terminal_snr.
///
/// @return [num_timesteps] float64 on the CPU, each in (0, 1]; 1 at the end only.
/// @throws std::invalid_argument if num_timesteps < 1, a beta leaves that range (the message names
///         the field), or custom betas are not num_timesteps many.
Tensor make_betas(const DiffusionConfig& config);

/// linspace(beta_start, beta_end, T) [DDPM Sec. 4: 1e-4, 0.02, T = 1000; the talk: T = 300].
/// @return [T] float64, like all functions below.
Tensor make_linear_betas(int64_t num_timesteps, double beta_start, double beta_end);

/// Linear in sqrt(beta): linspace(sqrt(beta_start), sqrt(beta_end), T)^2.
Tensor make_quad_betas(int64_t num_timesteps, double beta_start, double beta_end);

/// alpha_bar(s) = cos^2(((s + 0.008) / 1.008) * pi / 2) at s = (t+1)/T [IDDPM Eq. 17]:
///
///     beta_t = min(1 - alpha_bar((t+1)/T) / alpha_bar(t/T), 0.999)
Tensor make_cosine_betas(int64_t num_timesteps);

/// GeoDiff's sigmoid, on beta: sigmoid(linspace(-6, 6, T)) * (beta_end - beta_start) + beta_start.
Tensor make_sigmoid_beta_betas(int64_t num_timesteps, double beta_start, double beta_end);

/// Jabri's sigmoid, on alpha_bar: alpha_bar(s) = (sigmoid(3) - sigmoid(6 s - 3)) / (sigmoid(3) -
/// sigmoid(-3)), and betas from its ratios, at most 0.999, as for the cosine.
Tensor make_sigmoid_alpha_bar_betas(int64_t num_timesteps);

/// 1/T, 1/(T-1), .. 1/2, 1: alpha_bar falls in a straight line to 0 (zero terminal SNR).
Tensor make_jsd_betas(int64_t num_timesteps);

/// Shifts and scales sqrt(alpha_bar) so that its last value is 0 and its first stays
/// [Lin et al., "Common diffusion noise schedules and sample steps are flawed", Alg. 1].
///
/// @param betas [T] float64 in (0, 1), T >= 2.
/// @return      [T] float64; the last one is exactly 1. Betas whose last one is 1 come back
///              unchanged, but for rounding.
/// @throws std::invalid_argument if T < 2.
Tensor rescale_zero_terminal_snr(const Tensor& betas);

/// The T betas of `config` before any zero-terminal-SNR rescale: ModelFolder::betas.
/// @throws std::invalid_argument as make_betas.
std::vector<double> unscaled_betas(DiffusionConfig config);

}  // namespace ddpm
