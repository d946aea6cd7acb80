#include "ddpm/diffusion/forward_frames.h"

#include <ATen/ATen.h>

#include <limits>

#include "ddpm/core/check.h"
#include "ddpm/core/philox.h"
#include "ddpm/diffusion/forward_process.h"

namespace ddpm {

std::vector<int64_t> even_timesteps(int64_t count, int64_t num_timesteps) {
  check_arg(count >= 2 && count <= num_timesteps + 1, "[even_timesteps] levels: expected 2 to ",
            num_timesteps + 1, ", got ", count);
  std::vector<int64_t> timesteps{-1};
  for (int64_t i = 1; i < count; ++i) timesteps.push_back(i * num_timesteps / (count - 1) - 1);
  return timesteps;
}

std::vector<ForwardFrame> forward_frames(const NoiseSchedule& schedule, const Tensor& x_start,
                                         const std::vector<int64_t>& timesteps, uint64_t seed) {
  const int64_t last = schedule.num_timesteps() - 1;
  const Tensor noise =
      normal_like_images({seed, RandomStream::kTest}, {0}, /*step=*/0, x_start.sizes().slice(1));
  std::vector<ForwardFrame> frames;
  for (const int64_t t : timesteps) {
    check_arg(t >= -1 && t <= last, "[forward_frames] t: expected -1 (the image) to ", last,
              ", got ", t);
    ForwardFrame frame{.t = t, .snr = std::numeric_limits<double>::infinity(), .x_t = x_start};
    if (t >= 0) {
      frame.alpha_bar = schedule.alphas_cumprod[t].item<double>();
      frame.snr = schedule.snr[t].item<double>();
      frame.x_t = q_sample(schedule, x_start, at::full({1}, t, at::kLong), noise);
    }
    frames.push_back(std::move(frame));
  }
  return frames;
}

Tensor pixel_histogram(const Tensor& x) {
  return at::histc(x.clamp(-kHistogramLimit, kHistogramLimit), kHistogramBins, -kHistogramLimit,
                   kHistogramLimit);
}

}  // namespace ddpm
