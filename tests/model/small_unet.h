#pragma once

#include <memory>

#include "ddpm/model/network.h"

namespace ddpm::testing {

/// Two levels, the lower one with attention: every part of a U-Net in 200 thousand weights.
inline ModelConfig small_unet_config() {
  ModelConfig config;
  config.unet2d.in_channels = 3;
  config.unet2d.out_channels = 3;
  config.unet2d.block_out_channels = {16, 32};
  config.unet2d.down_block_types = {DownBlockType::kDown, DownBlockType::kAttnDown};
  config.unet2d.up_block_types = {UpBlockType::kAttnUp, UpBlockType::kUp};
  config.unet2d.layers_per_block = 1;
  config.unet2d.norm_num_groups = 4;
  return config;
}

inline std::shared_ptr<NetworkImpl> initialized(const ModelConfig& config) {
  auto network = make_network(config);
  initialize(*network, /*seed=*/1);
  network->eval();
  return network;
}

}  // namespace ddpm::testing
