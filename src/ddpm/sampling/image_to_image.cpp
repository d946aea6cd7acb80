#include "ddpm/sampling/image_to_image.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>

#include "ddpm/core/check.h"
#include "ddpm/sampling/renoise.h"

namespace ddpm {

std::vector<NoiseLevel> last_levels(const NoiseSchedule& schedule, const SamplerOptions& options,
                                    double strength) {
  check_arg(strength > 0 && strength <= 1,
            "[image_to_image] strength: expected above 0 and at most 1, got ", strength);
  std::vector<NoiseLevel> levels = make_levels(schedule, options);
  const auto all = static_cast<double>(levels.size() - 1);
  const auto taken = std::max(std::lround(strength * all), 1L);
  levels.erase(levels.begin(), levels.end() - 1 - taken);
  return levels;
}

Tensor image_to_image(const Denoiser& model, const SamplerOptions& options, const Tensor& source,
                      double strength, const SampleRequest& request, const TraceFn& trace) {
  const Tensor images = source_of_each("image_to_image", source, request);
  const auto levels = last_levels(model.schedule, options, strength);
  const SamplerPlan part = make_sampler_plan(model.schedule, model.prediction, options, levels);
  const Tensor noise = initial_noise(request);
  // By levels: a singlestep solver may take as many steps over a shorter list.
  const bool takes_all = levels.size() == make_levels(model.schedule, options).size();
  const Tensor x = takes_all ? noise : renoise(images, {}, part.calls.front().level, noise);
  return run_plan(part, options, model.denoise, x, step_noise(request), trace);
}

}  // namespace ddpm
