#pragma once

#include <array>
#include <cstddef>

#include "ddpm/config/sample_config.h"
#include "ddpm/core/tensor.h"
#include "ddpm/sampling/sampler_plan.h"

namespace ddpm {

/// Images on their way through a plan.
struct SamplerState {
  Tensor x;                                      ///< [N, C, H, W] float32 (or float64).
  std::array<Tensor, kMemorySlots> memory = {};  ///< like x; undefined until written.
  std::size_t position = 0;                      ///< The plan's call that comes next.
};

/// What a call gives.
struct AdvanceResult {
  SamplerState state;   ///< After the call.
  Tensor pred_x_start;  ///< like x: of this call, after clipping.
};

/// Takes the plan's next call. A pure function: all randomness is in `noise`.
///
/// @param state  at a call of the plan; unchanged.
/// @param output [N, C, H, W] ([N, 2 C, H, W] with plan.learned_variance), any floating dtype: the
///               network's answer for state.x and row state.position of plan_timesteps().
/// @param noise  like x, standard normal; may be undefined where the call's next.noise is 0.
/// @throws std::invalid_argument if the plan is at its end, output has another shape, or noise is
///         missing.
AdvanceResult advance(const SamplerPlan& plan, const SamplerOptions& options,
                      const SamplerState& state, const Tensor& output, const Tensor& noise);

/// As advance, for images that stand at different calls, of different plans: image i takes
/// calls[i]. state.position is not used. A memory that only some images have is 0 in the others.
///
/// @param calls [N]; all with learned variance or none.
AdvanceResult advance_each(at::ArrayRef<const SamplerCall*> calls, const SamplerOptions& options,
                           const SamplerState& state, const Tensor& output, const Tensor& noise);

/// t for each of the network's calls with x [N, ...], on its device: [calls, N] int64, or float32
/// where the plan has fractional timesteps.
Tensor plan_timesteps(const SamplerPlan& plan, const Tensor& x);

/// x_start clipped as `options` say: not at all, to [-clip_range, clip_range], or by dynamic
/// thresholding, where s = the dynamic_ratio quantile of the image's |x_start|, limited to [1,
/// dynamic_max], and the result is clamp(x_start, -s, s) / s [Imagen Sec. 2.3].
///
/// @param x_start [N, ...] float32 or float64.
Tensor clip_x_start(const SamplerOptions& options, const Tensor& x_start);

/// The eps that belongs to pred_x_start: (x_t - sqrt(alpha_bar) pred_x_start) / sqrt(1 -
/// alpha_bar).
Tensor eps_of_x_start(double alpha_bar, const Tensor& x_t, const Tensor& pred_x_start);

}  // namespace ddpm
