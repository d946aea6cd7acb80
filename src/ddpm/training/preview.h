#pragma once

#include <cstdint>
#include <vector>

#include "ddpm/config/run_config.h"
#include "ddpm/core/tensor.h"
#include "ddpm/data/image.h"
#include "ddpm/data/image_set.h"
#include "ddpm/diffusion/noise_schedule.h"
#include "ddpm/sampling/denoise_fn.h"

namespace ddpm {

/// What a preview's images are drawn for.
struct PreviewInputs {
  Tensor class_labels = {};    ///< [train.preview_images] int64; undefined without classes
  Tensor low_resolution = {};  ///< As NetworkView has it; undefined without train.super_resolution
};

/// Class labels 0, 1, .. num_classes - 1, 0, 1, ..; for a network that enlarges images, the first
/// images of the set, again from its start where they are fewer, and their labels.
PreviewInputs preview_inputs(const RunConfig& config, const ImageSet& images, at::Device device);

/// A square grid of train.preview_images samples by DDIM in train.preview_steps steps (T if that is
/// less). The noise comes from train.seed, so that grids of one run show the same images mature.
///
/// @param image_shape [C, H, W].
Image draw_preview(const RunConfig& config, const NoiseSchedule& schedule, const DenoiseFn& denoise,
                   const std::vector<int64_t>& image_shape, at::Device device);

}  // namespace ddpm
