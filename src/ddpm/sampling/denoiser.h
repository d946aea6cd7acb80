#pragma once

#include "ddpm/config/diffusion_config.h"
#include "ddpm/diffusion/noise_schedule.h"
#include "ddpm/sampling/denoise_fn.h"

namespace ddpm {

/// What editing needs of a model: its noise levels, its network, and what that one's answers mean.
struct Denoiser {
  NoiseSchedule schedule;
  PredictionType prediction = PredictionType::kEpsilon;
  DenoiseFn denoise;
};

}  // namespace ddpm
