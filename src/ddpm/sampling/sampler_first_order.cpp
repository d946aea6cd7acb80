#include <algorithm>
#include <cmath>
#include <stdexcept>

#include "ddpm/sampling/sampler_families.h"

namespace ddpm {
namespace {

/// beta_tilde and beta of the step from alpha_bar a to p.
struct StepVariance {
  double small;
  double large;
};

StepVariance step_variance(double a, double p) {
  const double beta = 1 - a / p;
  return {beta * (1 - p) / (1 - a), beta};
}

void set_ddpm_noise(SamplerCall& call, VarianceType type) {
  if (call.next_level.alpha_bar == 1) return;  // the image takes no noise, whatever its timestep
  const StepVariance variance = step_variance(call.level.alpha_bar, call.next_level.alpha_bar);
  switch (type) {
    case VarianceType::kFixedSmall:
      call.next.noise = std::sqrt(variance.small);
      return;
    case VarianceType::kFixedLarge:
      call.next.noise = std::sqrt(variance.large);
      return;
    case VarianceType::kLearnedRange:
      call.next.noise = 1;
      call.learned_log_variance = {std::log(variance.small), std::log(variance.large)};
      return;
  }
  throw std::logic_error("[ddpm_calls] not a VarianceType");
}

UpdateRow ddim_row(const NoiseLevel& from, const NoiseLevel& to, double eta) {
  const double a = from.alpha_bar;
  const double p = to.alpha_bar;
  UpdateRow row;
  row.noise = eta * std::sqrt((1 - p) / (1 - a)) * std::sqrt(1 - a / p);
  // At eta = 1 and alpha_bar = 0 rounding can leave a variance just below 0.
  const double variance_of_eps = std::max(1 - p - row.noise * row.noise, 0.0);
  row.x = std::sqrt(variance_of_eps / (1 - a));
  row.pred_x_start = std::sqrt(p) - std::sqrt(a) * row.x;
  return row;
}

/// The row whose x is raised from one level to a noisier one.
UpdateRow raise_level(UpdateRow row, const NoiseLevel& from, const NoiseLevel& to, double s_noise) {
  if (to.alpha_bar == from.alpha_bar) return row;
  const double scale = std::sqrt(to.alpha_bar / from.alpha_bar);
  row.x *= scale;
  row.pred_x_start *= scale;
  for (double& weight : row.memory) weight *= scale;
  const double added = 1 / to.alpha_bar - 1 / from.alpha_bar;  // sigma_hat^2 - sigma^2
  row.noise = s_noise * std::sqrt(to.alpha_bar * added);
  return row;
}

constexpr int kStartX = 0;    // Heun's memory: x where its step begins,
constexpr int kStartEps = 1;  // and eps there

}  // namespace

SamplerCalls ddpm_calls(const Levels& levels, VarianceType variance) {
  SamplerCalls calls;
  for (size_t i = 0; i + 1 < levels.size(); ++i) {
    SamplerCall call{.level = levels[i], .next_level = levels[i + 1]};
    const double a = call.level.alpha_bar;
    const double p = call.next_level.alpha_bar;
    call.next.pred_x_start = std::sqrt(p) * (1 - a / p) / (1 - a);
    call.next.x = std::sqrt(a / p) * (1 - p) / (1 - a);
    set_ddpm_noise(call, variance);
    calls.push_back(call);
  }
  return calls;
}

SamplerCalls ddim_calls(const Levels& levels, double eta) {
  SamplerCalls calls;
  for (size_t i = 0; i + 1 < levels.size(); ++i) {
    calls.push_back({.level = levels[i],
                     .next_level = levels[i + 1],
                     .next = ddim_row(levels[i], levels[i + 1], eta)});
  }
  return calls;
}

SamplerCalls inversion_calls(const Levels& levels) {
  SamplerCalls calls;
  for (size_t i = 0; i + 1 < levels.size(); ++i) {
    // eps cannot be read at the image's own level, where there is none.
    const NoiseLevel& level = levels[std::max(i, size_t{1})];
    calls.push_back({.level = level,
                     .next_level = levels[i + 1],
                     .next = eps_step({levels[i]}, levels[i + 1], {{level}}, {1.0})});
  }
  return calls;
}

Levels churned_levels(const LevelTable& table, const Levels& levels,
                      const SamplerOptions& options) {
  const auto num_steps = static_cast<double>(levels.size() - 1);
  const double gamma = std::min(options.s_churn / num_steps, std::sqrt(2.0) - 1);
  const double highest = edm_sigma(table.alphas_cumprod.back());
  Levels churned = levels;
  for (size_t i = 0; i + 1 < levels.size(); ++i) {
    const double sigma = edm_sigma(levels[i].alpha_bar);
    const double raised = std::min(sigma * (1 + gamma), highest);
    const bool takes_part = sigma >= options.s_tmin && sigma <= options.s_tmax;
    if (takes_part && std::isfinite(sigma) && raised > sigma)
      churned[i] = level_at_sigma(table, raised);
  }
  return churned;
}

SamplerCalls euler_calls(const Levels& levels, const Levels& churned, double s_noise) {
  SamplerCalls calls;
  for (size_t i = 0; i + 1 < levels.size(); ++i) {
    const UpdateRow row = ddim_row(churned[i], levels[i + 1], /*eta=*/0);
    calls.push_back({.level = churned[i],
                     .next_level = churned[i + 1],
                     .next = raise_level(row, levels[i + 1], churned[i + 1], s_noise)});
  }
  return calls;
}

SamplerCalls heun_calls(const Levels& levels, const Levels& churned, double s_noise) {
  SamplerCalls calls;
  for (size_t i = 0; i + 1 < levels.size(); ++i) {
    const NoiseLevel& from = churned[i];
    const NoiseLevel& to = levels[i + 1];
    SamplerCall first{.level = from, .next_level = to, .next = ddim_row(from, to, /*eta=*/0)};
    const bool one_call = to.alpha_bar == 1 || from.alpha_bar == 0;
    if (one_call) {
      first.next_level = churned[i + 1];
      first.next = raise_level(first.next, to, churned[i + 1], s_noise);
      calls.push_back(first);
      continue;
    }
    first.ends_step = false;
    first.writes = {{kStartX, {.x = 1}}, {kStartEps, node_row(UpdateForm::kEps, from)}};
    const UpdateRow row =
        eps_step({from, kStartX}, to, {{from, kStartEps}, {to, kCurrent}}, {0.5, 0.5});
    calls.push_back(first);
    calls.push_back({.level = to,
                     .next_level = churned[i + 1],
                     .next = raise_level(row, to, churned[i + 1], s_noise)});
  }
  return calls;
}

}  // namespace ddpm
