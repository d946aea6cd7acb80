#include "ddpm/training/preview.h"

#include <ATen/ATen.h>

#include <algorithm>

#include "ddpm/data/image_tensor.h"
#include "ddpm/kernels/q_sample_uint8.h"
#include "ddpm/model/low_resolution.h"
#include "ddpm/sampling/sampler.h"

namespace ddpm {

PreviewInputs preview_inputs(const RunConfig& config, const ImageSet& images, at::Device device) {
  PreviewInputs inputs;
  const Tensor numbers = at::arange(config.train.preview_images, at::kLong);
  const Tensor first = numbers.remainder(images.images.size(0));
  const int64_t factor = config.train.super_resolution;
  if (factor > 0) {
    const Tensor pixels = images.images.index_select(/*dim=*/0, first).to(device);
    const Tensor x_start = x_start_of_pixels(pixels, /*flip=*/{});
    inputs.low_resolution = reduce_images(x_start, factor);
  }
  if (config.train.class_conditional) {
    const auto classes = static_cast<int64_t>(images.class_names.size());
    inputs.class_labels =
        (factor > 0 ? images.labels.index_select(/*dim=*/0, first) : numbers.remainder(classes))
            .to(device);
  }
  return inputs;
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
