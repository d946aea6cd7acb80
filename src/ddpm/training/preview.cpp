#include "ddpm/training/preview.h"

#include <ATen/ATen.h>

#include <algorithm>

#include "ddpm/data/image_tensor.h"
#include "ddpm/sampling/sampler.h"

namespace ddpm {
Tensor preview_labels(int64_t num_images, int64_t num_classes, at::Device device) {
  return at::arange(num_images, at::TensorOptions(at::kLong).device(device)).remainder(num_classes);
}

Image draw_preview(const RunConfig& config, const NoiseSchedule& schedule, const DenoiseFn& denoise,
                   const std::vector<int64_t>& image_shape, at::Device device) {
  SamplerOptions options;
  options.kind = SamplerKind::kDdim;
  options.steps = std::min(config.train.preview_steps, schedule.num_timesteps());
  const SampleRequest request{.seed = config.train.seed,
                              .first_image = 0,
                              .num_images = config.train.preview_images,
                              .image_shape = image_shape,
                              .device = device};
  const Tensor samples = sample(schedule, config.diffusion.prediction, denoise, options, request);
  return make_grid(samples, square_columns(request.num_images), /*padding=*/2,
                   shown_scale(image_shape[2]));
}

}  // namespace ddpm
