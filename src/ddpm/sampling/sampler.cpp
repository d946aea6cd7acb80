#include "ddpm/sampling/sampler.h"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

#include <algorithm>

#include "ddpm/core/check.h"
#include "ddpm/core/host_lead.h"
#include "ddpm/core/philox.h"
#include "ddpm/sampling/sampler_state.h"

namespace ddpm {

Tensor SampleTrace::eps() const { return eps_of_x_start(alpha_bar, x_t, pred_x_start); }

SampleTrace trace_of_call(const SamplerCall& call, int64_t step, const Tensor& x_t,
                          const Tensor& pred_x_start) {
  return {.step = step,
          .t = call.level.t,
          .alpha_bar = call.level.alpha_bar,
          .x_t = x_t,
          .pred_x_start = pred_x_start};
}

std::vector<uint64_t> image_keys(const SampleRequest& request) {
  std::vector<uint64_t> images(static_cast<size_t>(request.num_images));
  for (size_t i = 0; i < images.size(); ++i) images[i] = request.first_image + i;
  return images;
}

StepNoiseFn step_noise(const SampleRequest& request) {
  return [request, images = image_keys(request)](const SamplerCall& call) {
    return normal_like_images({request.seed, RandomStream::kStepNoise}, images, call.noise_step,
                              request.image_shape, request.device);
  };
}

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
  const SamplerPlan plan = make_sampler_plan(schedule, prediction, options);
  return run_plan(plan, options, denoise, initial_noise(request), step_noise(request), trace);
}

Tensor run_plan(const SamplerPlan& plan, const SamplerOptions& options, const DenoiseFn& denoise,
                const Tensor& x, const StepNoiseFn& noise, const TraceFn& trace) {
  const c10::NoGradGuard no_grad;
  SamplerState state{.x = x};
  const Tensor timesteps = plan_timesteps(plan, x);
  int64_t step = 0;
  bool begins_step = true;
  HostLead lead(x.device());
  for (const SamplerCall& call : plan.calls) {
    lead.wait();
    const Tensor output = denoise(state.x, timesteps[static_cast<int64_t>(state.position)]);
    const bool takes_noise = call.next.noise != 0 && noise;
    AdvanceResult result =
        advance(plan, options, state, output, takes_noise ? noise(call) : Tensor());
    if (trace && begins_step) trace(trace_of_call(call, step++, state.x, result.pred_x_start));
    begins_step = call.ends_step;
    state = std::move(result.state);
    lead.mark();
  }
  return state.x;
}

Tensor encode(const NoiseSchedule& schedule, PredictionType prediction, const DenoiseFn& denoise,
              const SamplerOptions& options, const Tensor& images) {
  SamplerOptions unclipped = options;
  unclipped.clip = X0Clip::kNone;
  return run_plan(make_inversion_plan(schedule, prediction, unclipped), unclipped, denoise, images);
}

}  // namespace ddpm
