#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "ddpm/config/diffusion_config.h"
#include "ddpm/config/sample_config.h"
#include "ddpm/core/tensor.h"
#include "ddpm/diffusion/noise_schedule.h"
#include "ddpm/sampling/denoise_fn.h"
#include "ddpm/sampling/sampler_plan.h"

namespace ddpm {

/// Which images to draw. Image i of the request is image first_image + i of the seed: the same
/// picture whatever batch it is drawn in.
struct SampleRequest {
  uint64_t seed = 0;
  uint64_t first_image = 0;
  int64_t num_images = 1;
  std::vector<int64_t> image_shape;  ///< [C, H, W].
  at::Device device = at::kCPU;
};

/// What a sampler knows before it takes a step, after the step's first network call.
struct SampleTrace {
  int64_t step = 0;      ///< 0 for the first.
  double t = 0;          ///< The timestep of x_t; fractional where levels are sigmas.
  double alpha_bar = 1;  ///< Of x_t.
  Tensor x_t;            ///< [N, C, H, W] float32.
  Tensor pred_x_start;   ///< like x_t, after clipping.

  /// Predicted noise like x_t, that which belongs to pred_x_start.
  Tensor eps() const;
};
using TraceFn = std::function<void(const SampleTrace&)>;

/// The trace of one network call at x_t.
SampleTrace trace_of_call(const SamplerCall& call, int64_t step, const Tensor& x_t,
                          const Tensor& pred_x_start);

/// Standard normal [num_images, C, H, W] float32: where the request's images begin, x_T.
///
/// @throws std::invalid_argument if the request asks for no image or has no [C, H, W].
Tensor initial_noise(const SampleRequest& request);

/// Draws images: initial_noise, then every call of make_sampler_plan, without gradients.
///
/// Noise is keyed by (seed, image, SamplerCall::noise_step), the state is float32, and x_t is never
/// clamped.
///
/// @param trace called once a step if given, before x_t is replaced.
/// @return      [num_images, C, H, W] float32 on request.device, mostly in [-1, 1].
/// @throws std::invalid_argument as make_sampler_plan and initial_noise do, or if the network's
///         output has another shape than x_t.
Tensor sample(const NoiseSchedule& schedule, PredictionType prediction, const DenoiseFn& denoise,
              const SamplerOptions& options, const SampleRequest& request,
              const TraceFn& trace = {});

/// Standard normal noise like x, for a call that takes some.
using StepNoiseFn = std::function<Tensor(const SamplerCall& call)>;

/// The noise that sample() draws for a request: of (seed, image, SamplerCall::noise_step).
StepNoiseFn step_noise(const SampleRequest& request);

/// The numbers of a request's images, which key their noise: first_image and those after it.
std::vector<uint64_t> image_keys(const SampleRequest& request);

/// Runs a plan from its first call to its last, without gradients.
///
/// @param x       [N, C, H, W] float32: a state of the first call's level.
/// @param noise   like x for each call that takes noise; may be empty if none does.
/// @return        like x.
Tensor run_plan(const SamplerPlan& plan, const SamplerOptions& options, const DenoiseFn& denoise,
                const Tensor& x, const StepNoiseFn& noise = {}, const TraceFn& trace = {});

/// The noise that DDIM at eta = 0 turns into these images: make_inversion_plan, run without
/// clipping, which would bend the path. Drawing from it with the same list of levels gives the
/// images back, the better the more levels there are.
///
/// @param images [N, C, H, W] float32 on the network's device.
/// @return       like images: x_T.
/// @throws std::invalid_argument as make_inversion_plan does.
Tensor encode(const NoiseSchedule& schedule, PredictionType prediction, const DenoiseFn& denoise,
              const SamplerOptions& options, const Tensor& images);

}  // namespace ddpm
