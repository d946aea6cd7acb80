#include "ddpm/sampling/sampler.h"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

#include <algorithm>

#include "ddpm/core/check.h"
#include "ddpm/core/philox.h"
#include "ddpm/sampling/sampler_step.h"

namespace ddpm {
namespace {

std::vector<uint64_t> image_keys(const SampleRequest& request) {
  std::vector<uint64_t> images(static_cast<size_t>(request.num_images));
  for (size_t i = 0; i < images.size(); ++i) images[i] = request.first_image + i;
  return images;
}

/// Noise of the step that leaves timestep t; undefined for a step without noise.
Tensor step_noise(const SampleRequest& request, const SamplerStep& step) {
  if (step.sigma == 0) return {};
  return normal_like_images({request.seed, RandomStream::kStepNoise}, image_keys(request),
                            static_cast<uint32_t>(step.t), request.image_shape, request.device);
}

}  // namespace

Tensor initial_noise(const SampleRequest& request) {
  check_arg(request.num_images >= 1, "[sample] num_images is too small: expected 1 or more, got ",
            request.num_images);
  const auto& shape = request.image_shape;
  check_arg(shape.size() == 3 &&
                std::all_of(shape.begin(), shape.end(), [](int64_t size) { return size >= 1; }),
            "[sample] image_shape must be [C, H, W]: expected 3 positive sizes, got [",
            at::IntArrayRef(shape), "]");
  return normal_like_images({request.seed, RandomStream::kInitialNoise}, image_keys(request),
                            /*step=*/0, shape, request.device);
}

Tensor sample(const NoiseSchedule& schedule, PredictionType prediction, const DenoiseFn& denoise,
              const SamplerOptions& options, const SampleRequest& request, const TraceFn& trace) {
  const c10::NoGradGuard no_grad;
  const std::vector<SamplerStep> steps = make_sampler_steps(schedule, prediction, options);
  Tensor x_t = initial_noise(request);
  const auto index_options = at::TensorOptions(request.device).dtype(at::kLong);
  for (size_t i = 0; i < steps.size(); ++i) {
    const SamplerStep& step = steps[i];
    const Tensor output = denoise(x_t, at::full({request.num_images}, step.t, index_options));
    const SamplerStepResult result =
        sampler_step(step, options, x_t, output, step_noise(request, step));
    if (trace) {
      trace({.step = static_cast<int64_t>(i),
             .t = step.t,
             .x_t = x_t,
             .eps = eps_of_step(step, x_t, result.pred_x_start),
             .pred_x_start = result.pred_x_start});
    }
    x_t = result.x_prev;
  }
  return x_t;
}

}  // namespace ddpm
