#pragma once

#include <vector>

#include "ddpm/config/diffusion_config.h"
#include "ddpm/config/sample_config.h"
#include "ddpm/sampling/levels.h"
#include "ddpm/sampling/sampler_plan.h"
#include "ddpm/sampling/sampler_weights.h"

namespace ddpm {

/// The network calls of each sampler over levels l_0 .. l_n, alpha_bar strictly ascending; the last
/// level is mostly the image. What depends on the network (x_start_from_*) and on the random
/// numbers (noise_step) is left for make_sampler_plan. Below, s is a step's level and t the next,
/// a and p their alpha_bar, sigma = sqrt((1 - alpha_bar) / alpha_bar); no step to the image takes
/// noise.
using Levels = std::vector<NoiseLevel>;
using SamplerCalls = std::vector<SamplerCall>;

/// Ancestral sampling [DDPM Alg. 2, Eq. 7] with beta = 1 - a / p of the whole step:
///
///     sqrt(p) beta / (1 - a) x_0 + sqrt(a / p) (1 - p) / (1 - a) x + noise,
///     variance beta (1 - p) / (1 - a) (fixed_small), beta (fixed_large), or learned between them
SamplerCalls ddpm_calls(const Levels& levels, VarianceType variance);

/// sqrt(p) x_0 + sqrt(1 - p - sigma^2) eps + sigma noise [DDIM Eq. 12], where sigma = eta
/// sqrt((1 - p) / (1 - a)) sqrt(1 - a / p) [DDIM Eq. 16]. In the EDM view this is Euler's method at
/// eta = 0, and Euler ancestral with sigma_up and sigma_down at any other.
SamplerCalls ddim_calls(const Levels& levels, double eta);

/// DDIM at eta = 0 up the list: levels descend in alpha_bar from the image to noise [DDIM
/// Sec. 4.3]. The first call reads eps at the level after the image, from the image itself.
SamplerCalls inversion_calls(const Levels& levels);

/// Levels to which churn raises those of a list [EDM Alg. 2]: sigma (1 + gamma), not above the
/// table's last, gamma = min(s_churn / n, sqrt(2) - 1) where s_tmin <= sigma <= s_tmax.
Levels churned_levels(const LevelTable& table, const Levels& levels, const SamplerOptions& options);

/// Euler's and Heun's method in sigma [EDM Alg. 1, 2]. Churn's noise, s_noise sqrt(sigma_hat^2 -
/// sigma^2), is put in by the call before; the first level's is that of the initial noise already.
///
///     Euler: x_edm + (sigma_t - sigma_s) eps_s
///     Heun:  x_edm + (sigma_t - sigma_s) (eps_s + eps_t) / 2; Euler to the image
SamplerCalls euler_calls(const Levels& levels, const Levels& churned, double s_noise);
SamplerCalls heun_calls(const Levels& levels, const Levels& churned, double s_noise);

/// Multistep solvers: each step interpolates this call's value and those of up to order - 1 calls
/// before. DPM-Solver++(2M), (3M) [DPM-Solver++ Alg. 2] and their SDE forms with kXStart (midpoint
/// slopes), DEIS [DEIS, tAB in log rho] with kEps, linear multistep (Adams-Bashforth in sigma)
/// with kSigma. A step to the image is of order 1; with lower_order_final the last step is, and the
/// one before it of order 2, where they lead to the image or are among fewer than 15. Neither holds
/// for kSigma.
SamplerCalls multistep_calls(const Levels& levels, const StepRule& rule, int order,
                             bool lower_order_final);

/// Singlestep solvers: order 2 and 3 take groups of as many levels, each group's end reached from
/// its start. DPM-Solver++(2S), (3S) with kXStart, DPM-Solver-2, -3 with kEps [DPM-Solver Alg. 1,
/// 2, with the list's own levels as inner points]. The last group holds what is left; the step to
/// the image is a group of its own, as with lower_order_final the last step is that groups of
/// `order` would leave none for.
SamplerCalls singlestep_calls(const Levels& levels, const StepRule& rule, int order,
                              bool lower_order_final);

/// UniPC [UniPC Sec. 3] in x_0: a predictor of `order` (a multistep step), and a corrector that
/// takes the same step again with the next call's value as one node more. Orders of the last steps
/// as in multistep_calls, but at any number of steps.
SamplerCalls unipc_calls(const Levels& levels, int order, UnipcVariant variant,
                         bool lower_order_final);

/// Pseudo linear multistep [PNDM Sec. 3]: DDIM's step with eps extrapolated by the
/// Adams-Bashforth weights of equal steps (up to (55, -59, 37, -9) / 24). plms begins with a step
/// of improved Euler (two calls), pndm with three of Runge-Kutta (four calls each, two of them
/// half-way in t).
SamplerCalls plms_calls(const Levels& levels);
SamplerCalls pndm_calls(const Levels& levels, const LevelTable& table);

}  // namespace ddpm
