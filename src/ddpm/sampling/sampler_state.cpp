#include "ddpm/sampling/sampler_state.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <stdexcept>

#include "ddpm/core/check.h"
#include "ddpm/core/send_to_device.h"
#include "ddpm/kernels/sampler_update.h"

namespace ddpm {
namespace {

/// Dynamic thresholding. The quantile is interpolated between the two nearest order statistics,
/// from topk: at::quantile refuses more than 2^24 elements.
Tensor threshold(const SamplerOptions& options, const Tensor& x_start) {
  const Tensor magnitude = x_start.abs().reshape({x_start.size(0), -1});
  const int64_t n = magnitude.size(1);
  const double position = options.dynamic_ratio * static_cast<double>(n - 1);
  const auto below = static_cast<int64_t>(std::floor(position));
  const Tensor top = std::get<0>(magnitude.topk(n - below, /*dim=*/1));
  const Tensor low = top.select(/*dim=*/1, n - below - 1);
  const Tensor high = top.select(/*dim=*/1, std::max(n - below - 2, int64_t{0}));
  const Tensor quantile = low + (high - low) * (position - static_cast<double>(below));
  std::vector<int64_t> shape(static_cast<size_t>(x_start.dim()), 1);
  shape[0] = x_start.size(0);
  const Tensor s = quantile.clamp(1, options.dynamic_max).view(shape);
  return at::minimum(at::maximum(x_start, -s), s) / s;
}

/// The network's answer in the state's dtype: the prediction, and v of a learned variance.
struct NetworkOutput {
  Tensor prediction;
  Tensor v;
};

NetworkOutput split_output(const Tensor& x, const Tensor& output, bool learned_variance) {
  std::vector<int64_t> expected = x.sizes().vec();
  if (learned_variance) expected.at(1) *= 2;
  check_arg(output.sizes() == at::IntArrayRef(expected),
            "[advance] the network's output must have x_t's shape",
            learned_variance ? " with twice the channels, for the variance" : "", ": expected ",
            at::IntArrayRef(expected), ", got ", output.sizes());
  const Tensor values = output.to(x.scalar_type(), /*non_blocking=*/false, /*copy=*/false,
                                  at::MemoryFormat::Contiguous);  // as x is, in one pass
  if (!learned_variance) return {values, {}};
  const auto parts = values.chunk(2, /*dim=*/1);
  return {parts[0], parts[1]};
}

/// What rows are sums of, in their order.
struct RowValues {
  Tensor x, pred_x_start;
  const std::array<Tensor, kMemorySlots>* memory;
  Tensor noise;
};

Tensor take_row(const UpdateRow& row, const RowValues& values) {
  std::vector<UpdateTerm> terms;
  const auto add = [&](const Tensor& value, double coefficient) {
    if (coefficient != 0) terms.push_back({value, coefficient});
  };
  add(values.x, row.x);
  add(values.pred_x_start, row.pred_x_start);
  for (size_t k = 0; k < kMemorySlots; ++k) add((*values.memory)[k], row.memory[k]);
  add(values.noise, row.noise);
  return sampler_update(terms);
}

/// exp(log(sigma^2) / 2) * noise [IDDPM Eq. 15].
Tensor scale_noise(const SamplerCall& call, const Tensor& v, const Tensor& noise) {
  if (!call.learned_log_variance || !noise.defined()) return noise;
  const auto [lowest, highest] = *call.learned_log_variance;
  const Tensor log_variance = (v + 1) * ((highest - lowest) / 2) + lowest;
  return (log_variance / 2).exp() * noise;
}

/// A memory that is not there is 0.
Tensor take_rows(const std::vector<UpdateRow>& rows, const RowValues& values) {
  const bool needs_noise =
      std::any_of(rows.begin(), rows.end(), [](const UpdateRow& row) { return row.noise != 0; });
  check_arg(values.noise.defined() || !needs_noise,
            "[advance_each] noise is missing: expected noise like x where a call takes some");
  std::vector<Tensor> terms{values.x, values.pred_x_start};
  terms.insert(terms.end(), values.memory->begin(), values.memory->end());
  terms.push_back(values.noise);
  std::vector<double> coefficients;
  for (const UpdateRow& row : rows) {
    coefficients.insert(coefficients.end(), {row.x, row.pred_x_start});
    for (size_t k = 0; k < kMemorySlots; ++k) {
      coefficients.push_back((*values.memory)[k].defined() ? row.memory[k] : 0);
    }
    coefficients.push_back(row.noise);
  }
  return sampler_update(terms, coefficients);
}

double clip_range_of(const SamplerOptions& options) {
  if (options.clip == X0Clip::kClip) return options.clip_range;
  return kUnclipped;
}

/// What is left to do where x_start is a sum that was clipped to clip_range_of().
Tensor clip_sum(const SamplerOptions& options, const Tensor& x_start) {
  return options.clip == X0Clip::kClip ? x_start : clip_x_start(options, x_start);
}

Tensor x_start_of(const SamplerCall& call, const SamplerOptions& options, const Tensor& x,
                  const Tensor& prediction) {
  const std::vector<UpdateTerm> terms{{x, call.x_start_from_x_t},
                                      {prediction, call.x_start_from_output}};
  return clip_sum(options, sampler_update(terms, clip_range_of(options)));
}

Tensor x_start_of_each(at::ArrayRef<const SamplerCall*> calls, const SamplerOptions& options,
                       const Tensor& x, const Tensor& prediction) {
  std::vector<double> coefficients;
  for (const SamplerCall* call : calls) {
    coefficients.insert(coefficients.end(), {call->x_start_from_x_t, call->x_start_from_output});
  }
  return clip_sum(options, sampler_update({x, prediction}, coefficients, clip_range_of(options)));
}

/// One number of each call, to be multiplied with x.
template <typename Number>
Tensor of_each(at::ArrayRef<const SamplerCall*> calls, const Tensor& x, const Number& number) {
  std::vector<double> values;
  for (const SamplerCall* call : calls) values.push_back(number(*call));
  std::vector<int64_t> shape(static_cast<size_t>(x.dim()), 1);
  shape[0] = static_cast<int64_t>(values.size());
  return send_to_device(at::tensor(values, at::kDouble).to(x.scalar_type()).view(shape),
                        x.device());
}

Tensor scale_noise_each(at::ArrayRef<const SamplerCall*> calls, const Tensor& v,
                        const Tensor& noise) {
  if (!v.defined() || !noise.defined()) return noise;
  const auto lowest = of_each(calls, v, [](const SamplerCall& call) {
    return call.learned_log_variance ? call.learned_log_variance->lowest : 0;
  });
  const auto half_range = of_each(calls, v, [](const SamplerCall& call) {
    const auto& range = call.learned_log_variance;
    return range ? (range->highest - range->lowest) / 2 : 0;
  });
  return (((v + 1) * half_range + lowest) / 2).exp() * noise;
}

}  // namespace

Tensor clip_x_start(const SamplerOptions& options, const Tensor& x_start) {
  switch (options.clip) {
    case X0Clip::kNone:
      return x_start;
    case X0Clip::kClip:
      return x_start.clamp(-options.clip_range, options.clip_range);
    case X0Clip::kDynamic:
      return threshold(options, x_start);
  }
  throw std::logic_error("[clip_x_start] not an X0Clip");
}

AdvanceResult advance(const SamplerPlan& plan, const SamplerOptions& options,
                      const SamplerState& state, const Tensor& output, const Tensor& noise) {
  check_arg(state.position < plan.calls.size(),
            "[advance] the plan is at its end: expected one of ", plan.calls.size(),
            " calls, got number ", state.position);
  const SamplerCall& call = plan.calls[state.position];
  const Tensor& x = state.x;
  const NetworkOutput answer = split_output(x, output, plan.learned_variance);
  AdvanceResult result;
  result.pred_x_start = x_start_of(call, options, x, answer.prediction);
  const RowValues values{x, result.pred_x_start, &state.memory, scale_noise(call, answer.v, noise)};
  result.state.x = take_row(call.next, values);
  result.state.memory = state.memory;
  for (const auto& [slot, row] : call.writes) result.state.memory[slot] = take_row(row, values);
  result.state.position = state.position + 1;
  return result;
}

AdvanceResult advance_each(at::ArrayRef<const SamplerCall*> calls, const SamplerOptions& options,
                           const SamplerState& state, const Tensor& output, const Tensor& noise) {
  const Tensor& x = state.x;
  check_arg(static_cast<int64_t>(calls.size()) == x.size(0),
            "[advance_each] calls must be one an image: expected ", x.size(0), ", got ",
            calls.size());
  const bool learned_variance = output.dim() == x.dim() && output.size(1) == 2 * x.size(1);
  const NetworkOutput answer = split_output(x, output, learned_variance);
  AdvanceResult result;
  result.pred_x_start = x_start_of_each(calls, options, x, answer.prediction);
  const RowValues values{x, result.pred_x_start, &state.memory,
                         scale_noise_each(calls, answer.v, noise)};
  std::vector<UpdateRow> rows;
  for (const SamplerCall* call : calls) rows.push_back(call->next);
  result.state.x = take_rows(rows, values);
  for (size_t slot = 0; slot < kMemorySlots; ++slot) {
    bool written = false;
    for (size_t i = 0; i < calls.size(); ++i) {
      rows[i] = {};
      rows[i].memory[slot] = state.memory[slot].defined() ? 1 : 0;  // kept, unless written
      for (const MemoryWrite& write : calls[i]->writes) {
        if (write.slot != slot) continue;
        rows[i] = write.row;
        written = true;
      }
    }
    result.state.memory[slot] = written ? take_rows(rows, values) : state.memory[slot];
  }
  return result;
}

Tensor plan_timesteps(const SamplerPlan& plan, const Tensor& x) {
  std::vector<double> of_calls;
  for (const SamplerCall& call : plan.calls) of_calls.push_back(call.level.t);
  const Tensor column = at::tensor(of_calls, at::kDouble).unsqueeze(/*dim=*/1);
  const Tensor rows = column.to(plan.whole_timesteps ? at::kLong : at::kFloat);
  return send_to_device(rows.repeat({1, x.size(0)}), x.device());
}

Tensor eps_of_x_start(double alpha_bar, const Tensor& x_t, const Tensor& pred_x_start) {
  return (x_t - pred_x_start * std::sqrt(alpha_bar)) / std::sqrt(1 - alpha_bar);
}

}  // namespace ddpm
