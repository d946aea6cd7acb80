#pragma once

#include <cstdint>

#include "ddpm/config/model_config.h"
#include "ddpm/model/unet_blocks.h"

// What a UNet2D's config says of its blocks.
namespace ddpm {

inline constexpr int64_t kTimeChannelsPerChannel = 4;  ///< Of the embedding and of its waves.

int64_t conv_in_channels(const UNet2DConfig& config);
/// Of the waves.
int64_t time_embed_channels(const UNet2DConfig& config);

LevelOptions down_options(const UNet2DConfig& config, DownBlockType type);
LevelOptions up_options(const UNet2DConfig& config, UpBlockType type);
/// The resampling after a level; `is_last` levels of a way have none.
LevelResampling level_resampling(const UNet2DConfig& config, LevelResampling wanted, bool is_last);

MidBlock make_mid_block(const UNet2DConfig& config);

}  // namespace ddpm
