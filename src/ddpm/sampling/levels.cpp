#include "ddpm/sampling/levels.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <stdexcept>

#include "ddpm/core/check.h"
#include "ddpm/sampling/timesteps.h"

namespace ddpm {
namespace {

int64_t default_steps(SamplerKind kind, int64_t num_timesteps) {
  switch (kind) {
    case SamplerKind::kDdpm:
      return num_timesteps;
    case SamplerKind::kDdim:
    case SamplerKind::kEuler:
    case SamplerKind::kEulerAncestral:
    case SamplerKind::kPndm:
    case SamplerKind::kPlms:
      return 50;
    case SamplerKind::kDpmpp2mSde:
    case SamplerKind::kDpmpp3mSde:
    case SamplerKind::kDpm2s:
    case SamplerKind::kDpm3s:
    case SamplerKind::kDpmpp2s:
    case SamplerKind::kDpmpp3s:
    case SamplerKind::kLms:
      return 30;
    case SamplerKind::kHeun:
    case SamplerKind::kDpmpp2m:
    case SamplerKind::kDpmpp3m:
    case SamplerKind::kUnipc:
    case SamplerKind::kDeis:
      return 20;
  }
  throw std::logic_error("[count_sampler_steps] not a SamplerKind");
}

/// auto is taken for timesteps here: for five samplers it becomes a list of sigmas, which may be as
/// long.
bool is_of_timesteps(const SamplerOptions& options) {
  return options.levels == LevelSpacing::kTimesteps || options.levels == LevelSpacing::kAuto;
}

bool drops_last(const SamplerOptions& options) {
  return options.drop_last && options.spacing != TimestepSpacing::kTrailing &&
         is_of_timesteps(options);
}

/// make_timesteps' list with what drop_last and steps_offset do to it.
std::vector<int64_t> visited_timesteps(const SamplerOptions& options, int64_t num_timesteps,
                                       int64_t num_steps) {
  const bool drops = drops_last(options);
  auto list = make_timesteps(options.spacing, num_timesteps, num_steps + (drops ? 1 : 0));
  if (drops) list.pop_back();
  if (options.spacing != TimestepSpacing::kLeading) return list;
  const int64_t most = num_timesteps - 1 - list.front();
  check_arg(options.steps_offset >= 0 && options.steps_offset <= most,
            "[make_levels] steps_offset leaves the schedule: expected 0 to ", most, " with ",
            num_steps, " leading steps, got ", options.steps_offset);
  for (int64_t& t : list) t += options.steps_offset;
  return list;
}

std::vector<NoiseLevel> levels_of_timesteps(const LevelTable& table, const SamplerOptions& options,
                                            int64_t num_steps) {
  const auto num_timesteps = static_cast<int64_t>(table.alphas_cumprod.size());
  std::vector<NoiseLevel> levels;
  for (const int64_t t : visited_timesteps(options, num_timesteps, num_steps)) {
    levels.push_back({static_cast<double>(t), table.alphas_cumprod[static_cast<size_t>(t)]});
  }
  return levels;
}

constexpr double kSteepSigma = 200;
constexpr double kKarrasSigmaMax = 80;  // [EDM Table 1]

/// Samplers whose first steps combine several eps, each times a difference of sigmas.
bool combines_first_eps(SamplerKind kind) {
  return kind == SamplerKind::kHeun || kind == SamplerKind::kDpm2s || kind == SamplerKind::kDpm3s ||
         kind == SamplerKind::kPndm || kind == SamplerKind::kPlms;
}

constexpr double kSameTimestep = 1e-6;  // sigmas lead back to their timestep up to rounding

struct SigmaRange {
  double min;
  double max;
};

SigmaRange sigma_range(const LevelTable& table, const SamplerOptions& options) {
  const SigmaRange whole{edm_sigma(table.alphas_cumprod.front()),
                         edm_sigma(table.alphas_cumprod.back())};
  check_arg(std::isfinite(whole.max),
            "[make_levels] levels between sigmas need a finite sigma: expected levels = timesteps "
            "with zero terminal SNR, got ",
            enum_word(options.levels));
  const SigmaRange range{options.sigma_min > 0 ? options.sigma_min : whole.min,
                         options.sigma_max > 0 ? options.sigma_max : whole.max};
  check_arg(range.min >= whole.min && range.min < range.max && range.max <= whole.max,
            "[make_levels] sigma_min and sigma_max must ascend within the schedule's sigmas: "
            "expected ",
            whole.min, " to ", whole.max, ", got ", range.min, " to ", range.max);
  return range;
}

/// Sigmas between both ends, equally spaced as transform(sigma).
template <typename Transform, typename Inverse>
std::vector<NoiseLevel> levels_of_sigmas(const LevelTable& table, const SigmaRange& range,
                                         int64_t num_steps, const Transform& transform,
                                         const Inverse& inverse) {
  const double first = transform(range.max);
  const double last = transform(range.min);
  const auto count = static_cast<double>(std::max(num_steps - 1, int64_t{1}));
  std::vector<NoiseLevel> levels;
  for (int64_t i = 0; i < num_steps; ++i) {
    const double position = static_cast<double>(i) / count;
    levels.push_back(level_at_sigma(table, inverse(first + position * (last - first))));
  }
  return levels;
}

void check_first_level(const NoiseSchedule& schedule, const NoiseLevel& first) {
  const int64_t last = schedule.num_timesteps() - 1;
  check_arg(!schedule.zero_terminal_snr || first.alpha_bar == 0,
            "[make_levels] sampling with zero terminal SNR begins at the last timestep: expected ",
            last, ", got ", first.t, "; use trailing or linspace spacing");
}

}  // namespace

LevelTable make_level_table(const NoiseSchedule& schedule) {
  const Tensor values = schedule.alphas_cumprod.cpu().contiguous();
  const double* alpha_bar = values.const_data_ptr<double>();
  LevelTable table;
  table.alphas_cumprod.assign(alpha_bar, alpha_bar + values.numel());
  for (const double a : table.alphas_cumprod) table.log_sigmas.push_back(std::log(edm_sigma(a)));
  return table;
}

NoiseLevel level_at_timestep(const LevelTable& table, double t) {
  const auto last = static_cast<double>(table.alphas_cumprod.size() - 1);
  check_arg(t >= 0 && t <= last, "[level_at_timestep] t is out of range: expected 0 to ", last,
            ", got ", t);
  const double below = std::floor(t);
  const auto index = static_cast<size_t>(below);
  if (t == below) return {t, table.alphas_cumprod[index]};
  const double low = table.log_sigmas[index];
  const double high = table.log_sigmas[index + 1];
  check_arg(std::isfinite(high),
            "[level_at_timestep] there are no levels between the last timestep with signal and "
            "zero terminal SNR: expected t to ",
            below, ", got ", t);
  return {t, alpha_bar_of_sigma(std::exp(low + (t - below) * (high - low)))};
}

NoiseLevel level_at_sigma(const LevelTable& table, double sigma) {
  check_arg(sigma > 0 && std::isfinite(sigma),
            "[level_at_sigma] sigma is out of range: expected a positive number, got ", sigma);
  const double log_sigma = std::log(sigma);
  const auto& list = table.log_sigmas;
  const double alpha_bar = alpha_bar_of_sigma(sigma);
  const auto above = std::lower_bound(list.begin(), list.end(), log_sigma);
  if (above == list.begin()) return {0, alpha_bar};
  if (above == list.end()) return {static_cast<double>(list.size() - 1), alpha_bar};
  const double low = *(above - 1);
  const double fraction = std::isfinite(*above) ? (log_sigma - low) / (*above - low) : 0;
  return {static_cast<double>(above - 1 - list.begin()) + fraction, alpha_bar};
}

SamplerOptions resolve_levels(const NoiseSchedule& schedule, SamplerOptions options) {
  if (options.levels != LevelSpacing::kAuto) return options;
  const double last_sigma = edm_sigma(schedule.alphas_cumprod[-1].item<double>());
  const bool is_steep = std::isfinite(last_sigma) && last_sigma > kSteepSigma;
  options.levels = is_steep && combines_first_eps(options.kind) ? LevelSpacing::kKarras
                                                                : LevelSpacing::kTimesteps;
  if (options.levels == LevelSpacing::kKarras && options.sigma_max == 0) {
    options.sigma_max = kKarrasSigmaMax;
  }
  return options;
}

std::vector<NoiseLevel> make_levels(const NoiseSchedule& schedule, const SamplerOptions& asked) {
  const SamplerOptions options = resolve_levels(schedule, asked);
  const LevelTable table = make_level_table(schedule);
  const int64_t num_steps = count_sampler_steps(options, schedule.num_timesteps());
  std::vector<NoiseLevel> levels;
  switch (options.levels) {
    case LevelSpacing::kAuto:
      throw std::logic_error("[make_levels] levels are not resolved");
    case LevelSpacing::kTimesteps:
      levels = levels_of_timesteps(table, options, num_steps);
      break;
    case LevelSpacing::kKarras:
      levels = levels_of_sigmas(
          table, sigma_range(table, options), num_steps,
          [&](double sigma) { return std::pow(sigma, 1 / options.rho); },
          [&](double root) { return std::pow(root, options.rho); });
      break;
    case LevelSpacing::kExponential:
    case LevelSpacing::kUniformLambda:
      levels = levels_of_sigmas(
          table, sigma_range(table, options), num_steps,
          [](double sigma) { return std::log(sigma); },
          [](double log_sigma) { return std::exp(log_sigma); });
      break;
  }
  check_first_level(schedule, levels.front());
  switch (options.final_sigma) {
    case FinalSigma::kZero:
      levels.emplace_back();
      break;
    case FinalSigma::kSigmaMin:  // where the list may be already
      if (levels.back().t > kSameTimestep) levels.push_back({0, table.alphas_cumprod.front()});
      break;
  }
  check_arg(levels.size() >= 2,
            "[make_levels] steps: expected 2 or more where the list begins at the first timestep "
            "and final_sigma = sigma_min ends there, got ",
            num_steps);
  return levels;
}

int64_t count_sampler_steps(const SamplerOptions& options, int64_t num_timesteps) {
  const bool limited = is_of_timesteps(options);
  const int64_t most = std::max(num_timesteps - (drops_last(options) ? 1 : 0), int64_t{1});
  check_arg(options.steps >= 0 && (!limited || options.steps <= most),
            "[count_sampler_steps] steps must not exceed the schedule's timesteps: expected 0 to ",
            most, ", got ", options.steps);
  if (options.steps > 0) return options.steps;
  return std::min(default_steps(options.kind, num_timesteps), most);
}

}  // namespace ddpm
