#pragma once

#include <cstdint>
#include <string>

#include "ddpm/config/model_config.h"
#include "ddpm/core/named_tensors.h"

namespace ddpm {

/// What a state dict of improved-diffusion or guided-diffusion (ADM) doesn't say about its network.
struct ImprovedDiffusionOptions {
  int64_t num_heads = 0;             ///< of every attention; 0: head_channels says.
  int64_t head_channels = 0;         ///< channels of a head; 0: num_heads says.
  bool new_attention_order = false;  ///< ADM's use_new_attention_order.
  double timestep_scale = 1.0;       ///< 1000 / T after training with rescale_timesteps.

  bool operator==(const ImprovedDiffusionOptions&) const = default;
};

/// A UNet2D that computes what their UNetModel does.
struct ImprovedDiffusionImport {
  UNet2DConfig config;  ///< sample_size stays 0: the network takes any.
  NamedTensors weights;
};

/// Whether the names are those of improved-diffusion's and guided-diffusion's UNetModel.
bool is_improved_diffusion(const NamedTensors& tensors);

/// Gives a state dict of improved-diffusion's or guided-diffusion's UNetModel the names of UNet2D,
/// splits its joint query, key and value layers, and infers the network from names and shapes:
///
///     input_blocks.0.0              conv_in          time_embed.0, .2    time_embedding
///     input_blocks, middle_block,   down_blocks,     label_emb           class_embedding
///     output_blocks                 mid_block,       out.0, .2           conv_norm_out, conv_out
///                                   up_blocks
///
/// Gradients or averages of the weights have the same names and are taken as well.
///
/// @param where the file, for errors.
/// @throws std::invalid_argument, naming file and tensor, if one is missing, unknown, there twice
/// or
///         of a shape that does not fit; or unless just one of num_heads and head_channels is
///         given and divides the channels.
ImprovedDiffusionImport import_improved_diffusion(const NamedTensors& tensors,
                                                  const ImprovedDiffusionOptions& options,
                                                  const std::string& where);

}  // namespace ddpm
