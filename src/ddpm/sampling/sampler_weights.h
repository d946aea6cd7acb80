#pragma once

#include <vector>

#include "ddpm/core/tensor.h"
#include "ddpm/sampling/sampler_plan.h"

namespace ddpm {

/// What a solver interpolates between network calls, and in which variable. From level s to t,
/// with h = lambda_t - lambda_s, x_t is exactly
///
///     kXStart: (sigma_t/sigma_s) x_s + alpha_t int_0^h e^(u-h) x_0(lambda_s + u) du
///     kEps:    (alpha_t/alpha_s) x_s - sigma_t int_0^h e^(h-u) eps(lambda_s + u) du
///     kSigma:  (alpha_t/alpha_s) x_s + alpha_t int eps d(sigma_edm)
///
/// with alpha = sqrt(alpha_bar), sigma = sqrt(1 - alpha_bar) [DPM-Solver++ Prop. 4.1, DPM-Solver
/// Prop. 3.1, EDM Eq. 4]; the polynomial through the known x_0 or eps stands in for the curve.
enum class UpdateForm { kXStart, kEps, kSigma };

/// The integral of e^(u-h) u over a step, which is what a slope known from two nodes counts for:
/// exact; h/2 (1 - e^-h), as DPM-Solver's midpoint steps and UniPC's bh2 have it; or h^2/2, as
/// UniPC's bh1 has it. All agree to second order in h.
enum class SlopeRule { kExact, kMidpoint, kHalfSquare };

/// A family of steps.
struct StepRule {
  UpdateForm form = UpdateForm::kXStart;
  SlopeRule slope = SlopeRule::kExact;
  /// kXStart only: noise of the reverse SDE, 1 in full, 0 none [SDE-DPM-Solver++]. The integrand's
  /// e^(u-h) becomes (1 + eta) e^((1 + eta) (u-h)), and x_s counts e^(-eta h) as much.
  double eta = 0;
};

/// Where a value is found when a call's rows are taken: kCurrent, or a memory slot.
inline constexpr int kCurrent = -1;
struct StepNode {
  NoiseLevel level;     ///< Where the network was evaluated (or x stands).
  int slot = kCurrent;  ///< Of its x_0 or eps, as the rule's form says (or of x).
};

/// The row that leads x from start.level to `to`. Nodes without signal (alpha_bar = 0) count for
/// the step from their own level only; with kXStart and kEps a step to the image, or from
/// alpha_bar = 0, is of first order.
///
/// @param nodes one to four; the first one stands at start.level.
UpdateRow interpolated_step(const StepRule& rule, const StepNode& start, const NoiseLevel& to,
                            const std::vector<StepNode>& nodes);

/// The deterministic first-order step with any combination of eps [DDIM Eq. 12]:
///
///     x_t = (alpha_t/alpha_s) x_s + (sigma_t - alpha_t sigma_s/alpha_s) sum_k weight_k eps_k
///
/// @param nodes hold eps in their slots; as many as weights.
UpdateRow eps_step(const StepNode& start, const NoiseLevel& to, const std::vector<StepNode>& nodes,
                   at::ArrayRef<double> weights);

/// What a call puts into memory for later nodes: pred_x_start, or the eps that belongs to it.
UpdateRow node_row(UpdateForm form, const NoiseLevel& level);

/// int_0^1 z e^(z(v-1)) v^power dv, for z of any sign; 1 for infinite z and power 0.
double exponential_moment(int power, double z);

/// Weights w with sum_k w_k positions_k^j = moments_j for every j: the integral of the polynomial
/// through values at those positions. As many moments as positions.
std::vector<double> interpolation_weights(const std::vector<double>& positions,
                                          const std::vector<double>& moments);

}  // namespace ddpm
