#include "ddpm/checkpoint/improved_diffusion.h"

#include <ATen/ATen.h>

#include <array>
#include <utility>

#include "ddpm/checkpoint/improved_diffusion_config.h"
#include "ddpm/core/check.h"

namespace ddpm {
namespace {

/// Hands tensors over, each once, under their new names.
class NameMap {
 public:
  NameMap(ImprovedDiffusionTensors tensors, const UNet2DConfig& config, bool new_attention_order)
      : tensors_(std::move(tensors)), config_(config), new_order_(new_attention_order) {}

  bool has(const std::string& name) const { return tensors_.has(name); }
  void layer(const std::string& from, const std::string& to);
  void tensor(const std::string& from, const std::string& to);
  void res_block(const std::string& from, const std::string& to);
  void attention(const std::string& from, const std::string& to, int64_t channels);

  /// The renamed tensors, once all were handed over.
  NamedTensors finish();

 private:
  Tensor take(const std::string& name);
  void split_qkv(const std::string& from, const std::string& to, int64_t channels, bool is_weight);

  ImprovedDiffusionTensors tensors_;
  const UNet2DConfig& config_;
  bool new_order_;
  NamedTensors renamed_;
};

Tensor NameMap::take(const std::string& name) {
  Tensor tensor = tensors_.at(name);
  tensors_.by_name.erase(name);
  return tensor;
}

void NameMap::tensor(const std::string& from, const std::string& to) {
  renamed_.emplace_back(to, take(from));
}

void NameMap::layer(const std::string& from, const std::string& to) {
  tensor(from + ".weight", to + ".weight");
  tensor(from + ".bias", to + ".bias");
}

void NameMap::res_block(const std::string& from, const std::string& to) {
  layer(from + "in_layers.0", to + "norm1");
  layer(from + "in_layers.2", to + "conv1");
  layer(from + "emb_layers.1", to + "time_emb_proj");
  layer(from + "out_layers.0", to + "norm2");
  layer(from + "out_layers.3", to + "conv2");
  if (has(from + "skip_connection.weight")) {
    layer(from + "skip_connection", to + "conv_shortcut");
  }
}

/// Rows are grouped by head first, then query, key and value; the other way round in the new order.
/// Both put a head's rows together, as UNet2D does.
void NameMap::split_qkv(const std::string& from, const std::string& to, int64_t channels,
                        bool is_weight) {
  const Tensor joint = take(from);
  const std::array<int64_t, 3> shape{3 * channels, channels, 1};
  const auto expected = at::IntArrayRef(shape).slice(0, is_weight ? 3 : 1);
  check_arg(joint.sizes() == expected, "[", tensors_.where, "] tensor '", from, "': expected ",
            expected, ", got ", joint.sizes());
  const int64_t heads = config_.attention_num_heads > 0 ? config_.attention_num_heads
                                                        : channels / config_.attention_head_dim;
  const int64_t columns = is_weight ? channels : 1;
  const Tensor parts = new_order_ ? joint.reshape({3, channels, columns})
                                  : joint.reshape({heads, 3, channels / heads, columns})
                                        .transpose(0, 1)
                                        .reshape({3, channels, columns});
  const char* suffix = is_weight ? ".weight" : ".bias";
  constexpr std::array names{"to_q", "to_k", "to_v"};
  for (size_t i = 0; i < names.size(); ++i) {
    const Tensor part = parts[static_cast<int64_t>(i)];
    renamed_.emplace_back(c10::str(to, names[i], suffix), is_weight ? part : part.squeeze(1));
  }
}

void NameMap::attention(const std::string& from, const std::string& to, int64_t channels) {
  layer(from + "norm", to + "group_norm");
  split_qkv(from + "qkv.weight", to, channels, /*is_weight=*/true);
  split_qkv(from + "qkv.bias", to, channels, /*is_weight=*/false);
  layer(from + "proj_out", to + "to_out.0");
  Tensor& weight = renamed_[renamed_.size() - 2].second;
  check_arg(weight.dim() == 3 && weight.size(2) == 1, "[", tensors_.where, "] tensor '", from,
            "proj_out.weight': expected [", channels, ", ", channels, ", 1], got ", weight.sizes());
  weight = weight.squeeze(2);
}

NamedTensors NameMap::finish() {
  check_arg(tensors_.by_name.empty(), "[", tensors_.where,
            "] unknown tensor: expected those of a UNetModel, got '",
            tensors_.by_name.empty() ? "" : tensors_.by_name.begin()->first, "' too");
  return std::move(renamed_);
}

std::string item(const std::string& block, const char* list, int64_t index) {
  return c10::str(block, list, ".", index, ".");
}

void map_down(const UNet2DConfig& config, size_t level, NameMap& map) {
  const std::string to = c10::str("down_blocks.", level, ".");
  const bool attends = config.down_block_types[level] == DownBlockType::kAttnDown;
  for (int64_t i = 0; i < config.layers_per_block; ++i) {
    const std::string from = input_block(config, level, i);
    map.res_block(from + "0.", item(to, "resnets", i));
    if (attends) {
      map.attention(from + "1.", item(to, "attentions", i), config.block_out_channels[level]);
    }
  }
  if (level + 1 == config.block_out_channels.size()) return;
  const std::string from = input_block(config, level, config.layers_per_block) + "0.";
  if (config.downsample_type == ResampleType::kResnet) {
    map.res_block(from, to + "downsamplers.0.");
  } else if (config.conv_resample) {
    map.layer(from + "op", to + "downsamplers.0.conv");
  }
}

/// @param step the way up's level: 0 is the lowest.
void map_up(const UNet2DConfig& config, size_t step, NameMap& map) {
  const std::string to = c10::str("up_blocks.", step, ".");
  const size_t levels = config.block_out_channels.size();
  const bool attends = config.up_block_types[step] == UpBlockType::kAttnUp;
  std::string from;
  for (int64_t i = 0; i <= config.layers_per_block; ++i) {
    from = output_block(config, step, i);
    map.res_block(from + "0.", item(to, "resnets", i));
    if (attends) {
      map.attention(from + "1.", item(to, "attentions", i),
                    config.block_out_channels[levels - 1 - step]);
    }
  }
  if (step + 1 == levels) return;
  from += attends ? "2." : "1.";
  if (config.upsample_type == ResampleType::kResnet) {
    map.res_block(from, to + "upsamplers.0.");
  } else if (config.conv_resample) {
    map.layer(from + "conv", to + "upsamplers.0.conv");
  }
}

}  // namespace

bool is_improved_diffusion(const NamedTensors& tensors) {
  return find_tensor(tensors, "time_embed.0.weight") != nullptr &&
         find_tensor(tensors, "input_blocks.0.0.weight") != nullptr;
}

ImprovedDiffusionImport import_improved_diffusion(const NamedTensors& tensors,
                                                  const ImprovedDiffusionOptions& options,
                                                  const std::string& where) {
  ImprovedDiffusionTensors given{.by_name = {}, .where = where};
  for (const auto& [name, tensor] : tensors) {
    check_arg(given.by_name.emplace(name, tensor).second, "[", where,
              "] tensor is there twice: expected '", name, "' once, got two");
  }
  ImprovedDiffusionImport result{.config = improved_diffusion_config(given, options),
                                 .weights = {}};
  const UNet2DConfig& config = result.config;
  NameMap map(std::move(given), config, options.new_attention_order);
  map.layer("input_blocks.0.0", "conv_in");
  map.layer("time_embed.0", "time_embedding.linear_1");
  map.layer("time_embed.2", "time_embedding.linear_2");
  if (config.num_class_embeds > 0) map.tensor("label_emb.weight", "class_embedding.weight");
  const size_t levels = config.block_out_channels.size();
  for (size_t level = 0; level < levels; ++level) map_down(config, level, map);
  map.res_block("middle_block.0.", "mid_block.resnets.0.");
  map.attention("middle_block.1.", "mid_block.attentions.0.", config.block_out_channels.back());
  map.res_block("middle_block.2.", "mid_block.resnets.1.");
  for (size_t step = 0; step < levels; ++step) map_up(config, step, map);
  map.layer("out.0", "conv_norm_out");
  map.layer("out.2", "conv_out");
  result.weights = map.finish();
  return result;
}

}  // namespace ddpm
