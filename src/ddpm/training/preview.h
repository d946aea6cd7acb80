#pragma once

#include <cstdint>
#include <vector>

#include "ddpm/config/run_config.h"
#include "ddpm/core/tensor.h"
#include "ddpm/data/image.h"
#include "ddpm/diffusion/noise_schedule.h"
#include "ddpm/sampling/denoise_fn.h"

namespace ddpm {

/// The class labels of a preview: 0, 1, .. num_classes - 1, 0, 1, ..
/// @return [num_images] int64 on `device`.
Tensor preview_labels(int64_t num_images, int64_t num_classes, at::Device device);

/// A square grid of train.preview_images samples by DDIM in train.preview_steps steps (T if that is
/// less). The noise comes from train.seed, so that grids of one run show the same images mature.
///
/// @param image_shape [C, H, W].
Image draw_preview(const RunConfig& config, const NoiseSchedule& schedule, const DenoiseFn& denoise,
                   const std::vector<int64_t>& image_shape, at::Device device);

}  // namespace ddpm
