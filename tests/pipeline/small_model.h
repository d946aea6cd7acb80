#pragma once

#include "ddpm/checkpoint/model_folder.h"
#include "ddpm/model/network.h"

namespace ddpm::testing {

/// A model of 8x8 grey images with T = 50 and random weights.
inline ModelFolder small_model(int64_t num_classes = 0, bool self_conditioning = false,
                               int64_t super_resolution = 0) {
  ModelFolder folder;
  UNet2DConfig& unet = folder.model.unet2d;
  unet.sample_size = 8;
  unet.out_channels = 1;
  unet.in_channels = 1 + int64_t{self_conditioning} + int64_t{super_resolution > 0};
  unet.block_out_channels = {16, 32};
  unet.down_block_types = {DownBlockType::kDown, DownBlockType::kAttnDown};
  unet.up_block_types = {UpBlockType::kAttnUp, UpBlockType::kUp};
  unet.norm_num_groups = 4;
  unet.num_class_embeds = num_classes;
  folder.diffusion.num_timesteps = 50;
  folder.diffusion.schedule = ScheduleKind::kCosine;
  folder.scheduler.timestep_spacing = TimestepSpacing::kTrailing;
  folder.extras.self_conditioning = self_conditioning;
  folder.extras.super_resolution = super_resolution;
  for (int64_t i = 0; i < num_classes; ++i) {
    folder.extras.class_names.push_back("class" + std::to_string(i));
  }
  const auto network = make_network(folder.model);
  initialize(*network, /*seed=*/5);
  for (const auto& item : network->named_parameters()) {
    folder.weights.emplace_back(item.key(), item.value().detach());
  }
  return folder;
}

}  // namespace ddpm::testing
