#include "ddpm/sampling/guidance.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <functional>
#include <utility>
#include <vector>

#include "ddpm/core/check.h"
#include "ddpm/core/send_to_device.h"
#include "ddpm/sampling/levels.h"

namespace ddpm {
namespace {

struct Answers {
  Tensor strong;
  Tensor weak;
};
using AnswersFn = std::function<Answers(const Tensor& x_t, const Tensor& t)>;

/// Levels are compared as timesteps, which is what a network is told. Fractional ones come as
/// float32, so the ends give way by a thousandth.
constexpr double kTimestepTolerance = 1e-3;

/// strong alone is called where guidance is off; both are where some image needs them.
DenoiseFn guided(const NoiseSchedule& schedule, const GuidanceOptions& options,
                 const DenoiseFn& strong, const AnswersFn& answers) {
  check_guidance(options);
  const auto range = guided_timesteps(schedule, options);
  if (options.scale == 1) return strong;
  return [=](const Tensor& x_t, const Tensor& t) {
    const auto guide_all = [&](const Answers& pair) {
      return guide(options, pair.strong, pair.weak, x_t.size(1));
    };
    if (!range) return guide_all(answers(x_t, t));
    const Tensor inside = t.ge(range->first).logical_and(t.le(range->last));
    if (!inside.any().item<bool>()) return strong(x_t, t);
    const Answers pair = answers(x_t, t);
    return at::where(inside.view({-1, 1, 1, 1}), guide_all(pair), pair.strong);
  };
}

void check_answers(const Tensor& strong, const Tensor& weak, int64_t channels) {
  check_arg(strong.sizes() == weak.sizes(), "[guide] the answers differ in shape: expected ",
            strong.sizes(), ", got ", weak.sizes());
  check_arg(strong.dim() == 4 && (strong.size(1) == channels || strong.size(1) == 2 * channels),
            "[guide] the answer must be [N, C or 2 C, H, W]: expected C = ", channels, ", got ",
            strong.sizes());
}

/// Differences of nearby answers are magnified: not in half precision.
Tensor prediction_of(const Tensor& answer, int64_t channels) {
  return answer.narrow(/*dim=*/1, 0, channels).to(at::kFloat);
}

/// [N, 1, 1, 1]: by how much the deviation of `to` exceeds that of `answer`.
Tensor deviation_ratio(const Tensor& to, const Tensor& answer) {
  const auto deviation = [](const Tensor& x) { return x.std({1, 2, 3}, 0, /*keepdim=*/true); };
  return deviation(to) / deviation(answer).clamp_min(1e-12);
}

/// The guided prediction in strong's dtype, with strong's variance.
Tensor with_variance_of(const Tensor& strong, const Tensor& answer, int64_t channels) {
  const Tensor rounded = answer.to(strong.scalar_type());
  if (strong.size(1) == channels) return rounded;
  return at::cat({rounded, strong.narrow(/*dim=*/1, channels, channels)}, /*dim=*/1);
}

/// [N, 1, 1, 1] float32: one number of each image's options.
template <typename Number>
Tensor of_each_option(at::ArrayRef<const GuidanceOptions*> options, at::Device device,
                      const Number& number) {
  std::vector<double> values;
  for (const GuidanceOptions* option : options) values.push_back(number(*option));
  return send_to_device(at::tensor(values, at::kDouble).to(at::kFloat).view({-1, 1, 1, 1}), device);
}

}  // namespace

std::optional<GuidedTimesteps> guided_timesteps(const NoiseSchedule& schedule,
                                                const GuidanceOptions& options) {
  const std::vector<double>& interval = options.interval;
  if (interval.empty()) return std::nullopt;
  check_arg(interval.size() == 2 && interval[0] >= 0 && interval[0] < interval[1],
            "[guidance] interval: expected two ascending sigmas, got ", at::ArrayRef(interval));
  const LevelTable table = make_level_table(schedule);
  check_arg(interval[1] >= edm_sigma(table.alphas_cumprod.front()) &&
                interval[0] <= edm_sigma(table.alphas_cumprod.back()),
            "[guidance] interval holds none of the schedule's sigmas: expected some of ",
            edm_sigma(table.alphas_cumprod.front()), " to ", edm_sigma(table.alphas_cumprod.back()),
            ", got ", at::ArrayRef(interval));
  const double first = interval[0] > 0 ? level_at_sigma(table, interval[0]).t : 0;
  return GuidedTimesteps{first - kTimestepTolerance,
                         level_at_sigma(table, interval[1]).t + kTimestepTolerance};
}

void check_guidance(const GuidanceOptions& options) {
  check_arg(options.scale >= 0, "[guidance] scale: expected 0 or more, got ", options.scale);
  check_arg(options.rescale >= 0 && options.rescale <= 1,
            "[guidance] rescale: expected 0 to 1, got ", options.rescale);
}

Tensor guide(const GuidanceOptions& options, const Tensor& strong, const Tensor& weak,
             int64_t channels) {
  check_answers(strong, weak, channels);
  if (options.scale == 1) return strong;
  const Tensor from = prediction_of(weak, channels);
  const Tensor to = prediction_of(strong, channels);
  Tensor answer = from + (to - from) * options.scale;
  if (options.rescale > 0) {
    answer = answer * (deviation_ratio(to, answer) * options.rescale + (1 - options.rescale));
  }
  return with_variance_of(strong, answer, channels);
}

Tensor guide_each(at::ArrayRef<const GuidanceOptions*> options, const Tensor& strong,
                  const Tensor& weak, int64_t channels) {
  check_answers(strong, weak, channels);
  check_arg(static_cast<int64_t>(options.size()) == strong.size(0),
            "[guide_each] options must be one an image: expected ", strong.size(0), ", got ",
            options.size());
  const auto of_each = [&](const auto& number) {
    return of_each_option(options, strong.device(), number);
  };
  const Tensor from = prediction_of(weak, channels);
  const Tensor to = prediction_of(strong, channels);
  const Tensor scale = of_each([](const GuidanceOptions& o) { return o.scale; });
  Tensor answer = at::where(scale == 1, to, from + (to - from) * scale);
  const bool rescales = std::any_of(options.begin(), options.end(),
                                    [](const GuidanceOptions* o) { return o->rescale > 0; });
  if (rescales) {
    const Tensor kept = of_each([](const GuidanceOptions& o) { return 1 - o.rescale; });
    const Tensor rescale = of_each([](const GuidanceOptions& o) { return o.rescale; });
    const Tensor factor = deviation_ratio(to, answer) * rescale + kept;
    answer = at::where((rescale == 0).logical_or(scale == 1), answer, answer * factor);
  }
  return with_variance_of(strong, answer, channels);
}

DenoiseFn classifier_free_guidance(const NoiseSchedule& schedule, const GuidanceOptions& options,
                                   const DenoiseFn& conditional, const DenoiseFn& both) {
  return guided(schedule, options, conditional, [both](const Tensor& x_t, const Tensor& t) {
    const auto halves = both(at::cat({x_t, x_t}), at::cat({t, t})).chunk(2);
    return Answers{halves.at(0), halves.at(1)};
  });
}

DenoiseFn autoguidance(const NoiseSchedule& schedule, const GuidanceOptions& options,
                       const DenoiseFn& network, const DenoiseFn& weaker) {
  return guided(schedule, options, network, [=](const Tensor& x_t, const Tensor& t) {
    return Answers{network(x_t, t), weaker(x_t, t)};
  });
}

}  // namespace ddpm
