#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "ddpm/config/data_config.h"
#include "ddpm/config/diffusion_config.h"
#include "ddpm/config/field_list.h"

namespace ddpm {

/// Timesteps of one answer.
inline constexpr std::size_t kMaxForwardFrames = 50;

/// The prediction does not matter here, but this one goes with every schedule.
inline DiffusionConfig any_schedule() {
  DiffusionConfig config;
  config.prediction = PredictionType::kVelocity;
  return config;
}

/// What `ddpm forward` takes by flags.
struct ForwardFields {
  DiffusionConfig diffusion = any_schedule();
  std::vector<int64_t> t = {};
  int64_t levels = 10;
  int64_t size = 64;
  FitPolicy fit = FitPolicy::kCrop;

  template <typename Visitor>
  void visit_fields(Visitor&& visit) {
    visit("schedule", diffusion.schedule, "noise schedule");
    visit("num_timesteps", diffusion.num_timesteps, "T, the number of noising steps",
          between(1, 10'000));
    visit("beta_start", diffusion.beta_start, "first beta of linear, quad, sigmoid_beta",
          between(0, 1));
    visit("beta_end", diffusion.beta_end, "last beta of them; const's beta", between(0, 1));
    visit("zero_terminal_snr", diffusion.zero_terminal_snr, "rescale so that x_T has no signal");
    visit("t", t, "timesteps to show, from -1, the image, to T - 1; none: levels", at_least(-1));
    visit("levels", levels, "evenly spaced timesteps, the image among them",
          between(2, kMaxForwardFrames));
    visit("size", size, "side of the square that the image is made, in pixels", between(1, 512));
    visit("fit", fit, "how an image that is not square becomes so");
  }
};

}  // namespace ddpm
