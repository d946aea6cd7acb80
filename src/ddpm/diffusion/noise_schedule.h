#pragma once

#include <cstdint>

#include "ddpm/config/diffusion_config.h"
#include "ddpm/core/tensor.h"

namespace ddpm {

/// Tables of the forward process, indexed by t = 0 .. T-1 (the paper's t is this t plus one).
///
/// Every table is [T] and float64: float32 would lose 1 - alpha_bar_t near t = 0. Cast after the
/// last subtraction, never before. All tables share one device; move them once a run, with `to`.
/// Where alpha_bar_{T-1} is 0 (zero terminal SNR) the last reciprocals are infinite.
struct NoiseSchedule {
  Tensor betas;                          ///< beta_t, the variance added at step t. In (0, 1].
  Tensor alphas;                         ///< alpha_t = 1 - beta_t.
  Tensor alphas_cumprod;                 ///< alpha_bar_t = prod_{s<=t} alpha_s.
  Tensor alphas_cumprod_prev;            ///< alpha_bar_{t-1}, with alpha_bar_{-1} = 1.
  Tensor sqrt_alphas;                    ///< Scale of x_{t-1} in x_t.
  Tensor sqrt_betas;                     ///< Scale of the noise that step t adds.
  Tensor sqrt_alphas_cumprod;            ///< Scale of x_start in x_t.
  Tensor sqrt_one_minus_alphas_cumprod;  ///< Scale of noise in x_t.
  Tensor sqrt_recip_alphas;              ///< sqrt(1 / alpha_t).
  Tensor sqrt_recip_alphas_cumprod;      ///< sqrt(1 / alpha_bar_t): x_t in x_start [DDPM Eq. 15].
  Tensor sqrt_recipm1_alphas_cumprod;    ///< sqrt(1 / alpha_bar_t - 1): eps in x_start.
  Tensor posterior_mean_coef1;           ///< Scale of x_start in the posterior mean [DDPM Eq. 7].
  Tensor posterior_mean_coef2;           ///< Scale of x_t in the posterior mean [DDPM Eq. 7].
  Tensor posterior_variance;             ///< beta_tilde_t [DDPM Eq. 7]. Zero at t = 0.
  Tensor snr;                            ///< alpha_bar_t / (1 - alpha_bar_t).

  /// True if alpha_bar_{T-1} = 0: x_{T-1} is noise alone, and eps says nothing about x_start.
  bool zero_terminal_snr = false;
  /// The variance of ancestral sampling that goes with the network.
  VarianceType variance = VarianceType::kFixedSmall;
  /// Standard deviation of the data, which prediction edm scales by.
  double sigma_data = 0.5;

  int64_t num_timesteps() const { return betas.size(0); }
  NoiseSchedule to(at::Device device) const;

  /// Calls visit(name, table) for each table, in the order above.
  template <typename Visitor>
  void visit_tables(Visitor&& visit) {
    visit("betas", betas);
    visit("alphas", alphas);
    visit("alphas_cumprod", alphas_cumprod);
    visit("alphas_cumprod_prev", alphas_cumprod_prev);
    visit("sqrt_alphas", sqrt_alphas);
    visit("sqrt_betas", sqrt_betas);
    visit("sqrt_alphas_cumprod", sqrt_alphas_cumprod);
    visit("sqrt_one_minus_alphas_cumprod", sqrt_one_minus_alphas_cumprod);
    visit("sqrt_recip_alphas", sqrt_recip_alphas);
    visit("sqrt_recip_alphas_cumprod", sqrt_recip_alphas_cumprod);
    visit("sqrt_recipm1_alphas_cumprod", sqrt_recipm1_alphas_cumprod);
    visit("posterior_mean_coef1", posterior_mean_coef1);
    visit("posterior_mean_coef2", posterior_mean_coef2);
    visit("posterior_variance", posterior_variance);
    visit("snr", snr);
  }
};

/// Builds every table from `betas`, on their device.
///
/// @param betas [T] floating, each in (0, 1); the last one may be 1 (zero terminal SNR).
/// @throws std::invalid_argument if betas is not 1-D, is empty or leaves that range, or alpha_bar
///         falls to 0 before the last timestep.
NoiseSchedule make_schedule(const Tensor& betas);

/// Whether two schedules have the same levels of noise, alpha_bar up to the rounding of files.
bool is_same_schedule(const NoiseSchedule& a, const NoiseSchedule& b);

/// The schedule that `config` describes, on the CPU: make_betas, then make_schedule.
///
/// @throws std::invalid_argument as make_betas and make_schedule do, or if the schedule has zero
///         terminal SNR and the prediction is epsilon or edm.
NoiseSchedule make_noise_schedule(const DiffusionConfig& config);

}  // namespace ddpm
