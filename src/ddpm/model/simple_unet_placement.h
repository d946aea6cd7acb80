#pragma once

#include <cstdint>

#include "ddpm/config/simple_unet_config.h"

namespace ddpm {

/// The bottleneck's level, which is the number of down blocks, and of up blocks.
int64_t bottleneck_level(const SimpleUnetConfig& config);

/// What an image's sides must be multiples of.
int64_t size_factor(const SimpleUnetConfig& config);

/// Whether a gate stands at this place of this level. The bottleneck has one level. An attention
/// gate stands only where there is a coarser level to listen to.
bool has_gate(const SimpleUnetConfig& config, GatePlace place, int64_t level);

/// Whether the maps of this level attend over their pixels.
bool has_self_attention(const SimpleUnetConfig& config, int64_t level);

/// Checks what concerns the levels, the norms, and where gates and attention stand.
///
/// @param where what the message names first.
/// @throws std::invalid_argument, naming the field, for lists that are too short or too long or
///         name something twice, groups that don't divide the channels, gates without a place,
///         options of gates without a gate, and levels that have nothing to gate or to attend to.
void check_simple_unet(const SimpleUnetConfig& config, const char* where);

}  // namespace ddpm
