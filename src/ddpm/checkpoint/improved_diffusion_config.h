#pragma once

#include <cstdint>
#include <map>
#include <string>

#include "ddpm/checkpoint/improved_diffusion.h"
#include "ddpm/config/model_config.h"
#include "ddpm/core/tensor.h"

namespace ddpm {

/// A state dict of improved-diffusion or guided-diffusion, by name.
struct ImprovedDiffusionTensors {
  std::map<std::string, Tensor> by_name;
  std::string where;  ///< the file, for errors

  bool has(const std::string& name) const { return by_name.contains(name); }
  /// @throws std::invalid_argument, naming the tensor, if it is missing.
  const Tensor& at(const std::string& name) const;
  /// @throws std::invalid_argument too if the tensor has fewer dimensions.
  int64_t size(const std::string& name, int64_t dim) const;
};

/// "input_blocks.4.0.": layer `layer` of level `level`, or its downsampling where `layer` is
/// config.layers_per_block.
std::string input_block(const UNet2DConfig& config, size_t level, int64_t layer);

/// "output_blocks.4.": layer `layer` of the `level`-th level on the way up.
std::string output_block(const UNet2DConfig& config, size_t level, int64_t layer);

/// The network that the names and shapes belong to.
///
/// @throws std::invalid_argument as import_improved_diffusion().
UNet2DConfig improved_diffusion_config(const ImprovedDiffusionTensors& tensors,
                                       const ImprovedDiffusionOptions& options);

}  // namespace ddpm
