#include "ddpm/sampling/interpolate.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "ddpm/core/check.h"

namespace ddpm {

Tensor slerp(const Tensor& a, const Tensor& b, double weight) {
  check_arg(a.sizes() == b.sizes(), "[slerp] the points differ in shape: expected ", a.sizes(),
            ", got ", b.sizes());
  const auto length = [](const Tensor& x) { return x.norm().item<double>(); };
  const Tensor a64 = a.to(at::kDouble);
  const Tensor b64 = b.to(at::kDouble);
  const double lengths = length(a64) * length(b64);
  const double cosine = lengths > 0 ? (a64 * b64).sum().item<double>() / lengths : 1;
  const double angle = std::acos(std::clamp(cosine, -1.0, 1.0));
  const double sine = std::sin(angle);
  constexpr double kNearlyNone = 1e-6;
  if (angle < kNearlyNone) return a * (1 - weight) + b * weight;
  check_arg(sine > kNearlyNone,
            "[slerp] the points lie opposite each other: expected an angle "
            "below pi, got ",
            angle);
  return a * (std::sin((1 - weight) * angle) / sine) + b * (std::sin(weight * angle) / sine);
}

Tensor slerp_path(const Tensor& a, const Tensor& b, int64_t count) {
  check_arg(count >= 2, "[slerp_path] count: expected 2 or more, got ", count);
  std::vector<Tensor> points;
  for (int64_t i = 0; i < count; ++i) {
    points.push_back(slerp(a, b, static_cast<double>(i) / static_cast<double>(count - 1)));
  }
  return at::cat(points);
}

Tensor decode(const Denoiser& model, const SamplerOptions& options, const Tensor& noise,
              const TraceFn& trace) {
  const SamplerPlan plan = make_sampler_plan(model.schedule, model.prediction, options);
  const bool takes_noise =
      std::any_of(plan.calls.begin(), plan.calls.end(),
                  [](const SamplerCall& call) { return call.next.noise != 0; });
  check_arg(!takes_noise,
            "[decode] sampler: expected one without noise in its steps, such as ddim at eta = 0, "
            "got ",
            enum_word(options.kind));
  return run_plan(plan, options, model.denoise, noise, {}, trace);
}

SamplerOptions path_sampler(const SamplerOptions& options) {
  return {.kind = SamplerKind::kDdim,
          .steps = options.steps,
          .spacing = options.spacing,
          .drop_last = options.drop_last,
          .steps_offset = options.steps_offset,
          .levels = options.levels,
          .rho = options.rho,
          .sigma_min = options.sigma_min,
          .sigma_max = options.sigma_max,
          .eta = 0,
          .clip = X0Clip::kNone};
}

Tensor noise_path(const Denoiser& model, const SamplerOptions& options, const Tensor& images,
                  int64_t count) {
  check_arg(images.dim() == 4 && images.size(0) == 2,
            "[noise_path] images: expected two, [2, C, H, W], got ", images.sizes());
  const Tensor noise =
      encode(model.schedule, model.prediction, model.denoise, path_sampler(options), images);
  return slerp_path(noise.narrow(/*dim=*/0, 0, 1), noise.narrow(/*dim=*/0, 1, 1), count);
}

}  // namespace ddpm
