#include "ddpm/sampling/restore.h"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

#include <array>
#include <cmath>
#include <utility>
#include <vector>

#include "ddpm/core/check.h"
#include "ddpm/sampling/numbered_draws.h"
#include "ddpm/sampling/renoise.h"
#include "ddpm/sampling/sampler_state.h"

namespace ddpm {
namespace {

/// Calls [begin, end) of a plan: whole steps that are taken together, `times` times.
struct Block {
  size_t begin;
  size_t end;
  int64_t times;
};

bool reads_old_memory(const UpdateRow& row, const std::array<bool, kMemorySlots>& written) {
  for (size_t slot = 0; slot < kMemorySlots; ++slot) {
    if (row.memory[slot] != 0 && !written[slot]) return true;
  }
  return false;
}

/// Where each step begins, and the end of the plan.
///
/// @throws std::invalid_argument if a step reads what another step has remembered.
std::vector<size_t> step_bounds(const SamplerPlan& plan, SamplerKind kind) {
  std::vector<size_t> bounds{0};
  std::array<bool, kMemorySlots> written{};
  for (size_t i = 0; i < plan.calls.size(); ++i) {
    const SamplerCall& call = plan.calls[i];
    bool reads_old = reads_old_memory(call.next, written);
    for (const auto& [slot, row] : call.writes) {
      reads_old = reads_old || reads_old_memory(row, written);
    }
    for (const auto& [slot, row] : call.writes) written[slot] = true;
    check_arg(!reads_old,
              "[restore] sampler: expected one whose steps stand alone (ddpm, ddim, euler, "
              "euler_a, heun, dpmpp_2s, dpmpp_3s, dpm_2s, dpm_3s), got ",
              enum_word(kind));
    if (!call.ends_step) continue;
    bounds.push_back(i + 1);
    written = {};
  }
  return bounds;
}

std::vector<Block> make_blocks(const SamplerPlan& plan, SamplerKind kind,
                               const RestoreOptions& options, double tau) {
  check_arg(options.jump_length >= 1, "[restore] jump_length: expected 1 or more, got ",
            options.jump_length);
  check_arg(options.resamples >= 1, "[restore] resamples: expected 1 or more, got ",
            options.resamples);
  const std::vector<size_t> bounds = step_bounds(plan, kind);
  const auto steps = static_cast<int64_t>(bounds.size()) - 1;
  check_arg(options.resamples == 1 || options.jump_length < steps,
            "[restore] jump_length: expected fewer than the sampler's ", steps, " steps, got ",
            options.jump_length);
  std::vector<Block> blocks;
  for (int64_t begin = 0; begin < steps;) {
    const int64_t rest = (steps - begin) % options.jump_length;
    const int64_t end = begin + (rest > 0 ? rest : options.jump_length);
    const size_t first_call = bounds[static_cast<size_t>(begin)];
    // Below tau, going back would forget y: there it is known through x alone.
    const bool once = begin == 0 || edm_sigma(plan.calls[first_call].level.alpha_bar) < tau;
    blocks.push_back({first_call, bounds[static_cast<size_t>(end)], once ? 1 : options.resamples});
    begin = end;
  }
  return blocks;
}

/// A measurement as images: A^+ y, the noise in it, and the part of an image that it says.
struct Measured {
  LinearOperator op;
  Tensor image;  ///< A^+ y.
  double tau;    ///< Standard deviation of its noise.

  Tensor project(const Tensor& x) const { return op.pseudo_inverse(op.apply(x)); }

  /// x with what was measured put in, noised to the level of x.
  Tensor put_into(const Tensor& x, const NoiseLevel& level, const Tensor& noise) const {
    const double p = level.alpha_bar;
    if (edm_sigma(p) < tau) return x;
    const double added = std::sqrt(1 - p - p * tau * tau);
    return project(image * std::sqrt(p) + noise * added) + (x - project(x));
  }
};

Measured make_measured(const LinearMeasurement& measurement, const RestoreOptions& options,
                       const NoiseLevel& first_level, const SampleRequest& request) {
  const LinearOperator& op = measurement.op;
  check_arg(options.sigma_y >= 0, "[restore] sigma_y: expected 0 or more, got ", options.sigma_y);
  const double tau = options.sigma_y / op.singular_value;
  check_arg(tau <= edm_sigma(first_level.alpha_bar),
            "[restore] sigma_y: expected less noise than the first level has, at most ",
            edm_sigma(first_level.alpha_bar) * op.singular_value, ", got ", options.sigma_y);
  return {op, source_of_each("restore", op.pseudo_inverse(measurement.y), request), tau};
}

}  // namespace

LinearMeasurement kept_part(const Tensor& source, const Tensor& mask) {
  check_arg(source.dim() == 4 && mask.dim() == 4 && mask.size(0) == 1 && mask.size(1) == 1 &&
                mask.sizes().slice(2) == source.sizes().slice(2),
            "[kept_part] mask does not fit the source: expected [1, 1, H, W] for a source of ",
            source.sizes(), ", got ", mask.sizes());
  const Tensor kept = 1 - mask;
  return {pixel_mask(kept), source * kept};
}

Tensor restore(const Denoiser& model, const SamplerOptions& options,
               const LinearMeasurement& measurement, const RestoreOptions& restore_options,
               const SampleRequest& request, const TraceFn& trace) {
  const c10::NoGradGuard no_grad;
  const SamplerPlan plan = make_sampler_plan(model.schedule, model.prediction, options);
  const NoiseLevel first_level = plan.calls.front().level;
  const Measured measured = make_measured(measurement, restore_options, first_level, request);
  const auto blocks = make_blocks(plan, options.kind, restore_options, measured.tau);

  NumberedDraws draws(request);
  const Tensor noise = initial_noise(request);
  SamplerState state{.x = measured.put_into(noise, first_level, noise)};
  const Tensor timesteps = plan_timesteps(plan, noise);
  int64_t step = 0;
  bool begins_step = true;
  const auto take_call = [&] {
    const SamplerCall& call = plan.calls[state.position];
    const Tensor output = model.denoise(state.x, timesteps[static_cast<int64_t>(state.position)]);
    AdvanceResult result =
        advance(plan, options, state, output, call.next.noise != 0 ? draws.next() : Tensor());
    if (trace && begins_step) trace(trace_of_call(call, step++, state.x, result.pred_x_start));
    begins_step = call.ends_step;
    if (call.ends_step) {
      result.state.x = measured.put_into(result.state.x, call.next_level, draws.next());
    }
    state = std::move(result.state);
  };
  for (const Block& block : blocks) {
    for (int64_t turn = 0; turn < block.times; ++turn) {
      if (turn > 0) {
        const NoiseLevel& level = plan.calls[block.begin].level;
        const NoiseLevel& reached = plan.calls[block.end - 1].next_level;
        state.x = renoise(state.x, reached, level, draws.next());
        state.x = measured.put_into(state.x, level, draws.next());
      }
      for (state.position = block.begin; state.position < block.end;) take_call();
    }
  }
  return state.x;
}

int64_t count_restore_calls(const Denoiser& model, const SamplerOptions& options,
                            const RestoreOptions& restore_options, double singular_value) {
  const SamplerPlan plan = make_sampler_plan(model.schedule, model.prediction, options);
  const double tau = restore_options.sigma_y / singular_value;
  int64_t calls = 0;
  for (const Block& block : make_blocks(plan, options.kind, restore_options, tau)) {
    calls += static_cast<int64_t>(block.end - block.begin) * block.times;
  }
  return calls;
}

}  // namespace ddpm
