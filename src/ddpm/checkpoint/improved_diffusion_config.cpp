#include "ddpm/checkpoint/improved_diffusion_config.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <vector>

#include "ddpm/core/check.h"

namespace ddpm {
namespace {

constexpr int64_t kNormGroups = 32;  // of every norm there

std::string numbered(const char* list, int64_t index) { return c10::str(list, ".", index, "."); }

/// What stands after the last res block of an output block, and after its attention.
enum class Upsampler { kNone, kConv, kResnet };

Upsampler upsampler_of(const ImprovedDiffusionTensors& tensors, int64_t block) {
  const std::string prefix = numbered("output_blocks", block);
  for (const char* place : {"1.", "2."}) {
    if (tensors.has(c10::str(prefix, place, "conv.weight"))) return Upsampler::kConv;
    if (tensors.has(c10::str(prefix, place, "in_layers.0.weight"))) return Upsampler::kResnet;
  }
  return Upsampler::kNone;
}

/// Input blocks that have no weights: means of 2 x 2 pixels between levels.
int64_t count_plain_downsamplers(const ImprovedDiffusionTensors& tensors, int64_t num_blocks) {
  int64_t count = 0;
  for (int64_t i = 1; i < num_blocks; ++i) {
    const std::string prefix = numbered("input_blocks", i);
    const bool has_weights =
        tensors.has(prefix + "0.in_layers.0.weight") || tensors.has(prefix + "0.op.weight");
    if (!has_weights) ++count;
  }
  return count;
}

/// Levels, res blocks a level, and how levels are joined. Both ways have as many blocks: L levels
/// of n + 1, where the way down counts the first convolution and the L - 1 downsamplers.
void infer_levels(const ImprovedDiffusionTensors& tensors, UNet2DConfig& config) {
  int64_t num_blocks = 0;
  int64_t num_upsamplers = 0;
  while (tensors.has(numbered("output_blocks", num_blocks) + "0.in_layers.0.weight")) {
    const Upsampler upsampler = upsampler_of(tensors, num_blocks++);
    if (upsampler == Upsampler::kNone) continue;
    ++num_upsamplers;
    if (upsampler == Upsampler::kResnet) {
      config.downsample_type = config.upsample_type = ResampleType::kResnet;
    }
  }
  if (num_upsamplers == 0) {
    num_upsamplers = count_plain_downsamplers(tensors, num_blocks);
    config.conv_resample = num_upsamplers == 0;
  }
  const int64_t levels = num_upsamplers + 1;
  check_arg(num_blocks % levels == 0 && num_blocks / levels >= 2, "[", tensors.where,
            "] output_blocks: expected the same number, at least 2, for each of ", levels,
            " levels, got ", num_blocks, " in all");
  config.layers_per_block = num_blocks / levels - 1;
  config.block_out_channels.assign(static_cast<size_t>(levels), 0);
}

void infer_block_types(const ImprovedDiffusionTensors& tensors, UNet2DConfig& config) {
  const size_t levels = config.block_out_channels.size();
  const bool resnet = config.downsample_type == ResampleType::kResnet;
  config.down_block_types.clear();
  config.up_block_types.clear();
  for (size_t level = 0; level < levels; ++level) {
    const std::string block = input_block(config, level, 0);
    config.block_out_channels[level] = tensors.size(block + "0.in_layers.2.weight", 0);
    const bool attends = tensors.has(block + "1.qkv.weight");
    const DownBlockType down = resnet ? DownBlockType::kResnetDown : DownBlockType::kDown;
    const UpBlockType up = resnet ? UpBlockType::kResnetUp : UpBlockType::kUp;
    config.down_block_types.push_back(attends ? DownBlockType::kAttnDown : down);
    config.up_block_types.push_back(attends ? UpBlockType::kAttnUp : up);
  }
  std::ranges::reverse(config.up_block_types);
}

/// The heads, by their width where that is one number: UNet2DModel knows no other way.
void infer_heads(const ImprovedDiffusionOptions& options, const std::string& where,
                 UNet2DConfig& config) {
  check_arg(options.num_heads >= 0 && options.head_channels >= 0 &&
                (options.num_heads == 0) != (options.head_channels == 0),
            "[", where, "] heads of the attention, which the tensors don't tell: expected either ",
            "num_heads or head_channels, got ", options.num_heads, " and ", options.head_channels);
  std::vector<int64_t> widths{config.block_out_channels.back()};  // the middle
  for (size_t level = 0; level < config.block_out_channels.size(); ++level) {
    if (config.down_block_types[level] == DownBlockType::kAttnDown) {
      widths.push_back(config.block_out_channels[level]);
    }
  }
  const int64_t divisor = std::max(options.num_heads, options.head_channels);
  for (const int64_t width : widths) {
    check_arg(width % divisor == 0, "[", where, "] ",
              options.num_heads > 0 ? "num_heads" : "head_channels", ": expected a divisor of ",
              width, ", got ", divisor);
  }
  const bool one_width = std::ranges::all_of(widths, [&](int64_t w) { return w == widths[0]; });
  config.attention_num_heads = one_width ? 0 : options.num_heads;
  config.attention_head_dim =
      options.num_heads > 0 && one_width ? widths[0] / options.num_heads : options.head_channels;
}

}  // namespace

const Tensor& ImprovedDiffusionTensors::at(const std::string& name) const {
  const auto found = by_name.find(name);
  check_arg(found != by_name.end(), "[", where, "] tensor is missing: expected '", name,
            "', got none");
  return found->second;
}

int64_t ImprovedDiffusionTensors::size(const std::string& name, int64_t dim) const {
  const Tensor& tensor = at(name);
  check_arg(tensor.dim() > dim, "[", where, "] tensor '", name, "': expected more than ", dim,
            " dimensions, got ", tensor.sizes());
  return tensor.size(dim);
}

std::string input_block(const UNet2DConfig& config, size_t level, int64_t layer) {
  const int64_t before = static_cast<int64_t>(level) * (config.layers_per_block + 1);
  return numbered("input_blocks", 1 + before + layer);
}

std::string output_block(const UNet2DConfig& config, size_t level, int64_t layer) {
  const int64_t before = static_cast<int64_t>(level) * (config.layers_per_block + 1);
  return numbered("output_blocks", before + layer);
}

UNet2DConfig improved_diffusion_config(const ImprovedDiffusionTensors& tensors,
                                       const ImprovedDiffusionOptions& options) {
  UNet2DConfig config;
  config.in_channels = tensors.size("input_blocks.0.0.weight", 1);
  config.out_channels = tensors.size("out.2.weight", 0);
  infer_levels(tensors, config);
  infer_block_types(tensors, config);
  infer_heads(options, tensors.where, config);

  const int64_t first = config.block_out_channels.front();
  const int64_t conv_in = tensors.size("input_blocks.0.0.weight", 0);
  const int64_t width = tensors.size("time_embed.0.weight", 1);
  config.conv_in_channels = conv_in == first ? 0 : conv_in;
  config.time_embed_channels = width == first ? 0 : width;
  config.timestep_scale = options.timestep_scale;
  const std::string projection = input_block(config, 0, 0) + "0.emb_layers.1.weight";
  config.resnet_time_scale_shift = tensors.size(projection, 0) == 2 * first
                                       ? TimeScaleShift::kScaleShift
                                       : TimeScaleShift::kDefault;
  config.norm_num_groups = kNormGroups;
  config.attn_norm_num_groups = kNormGroups;  // else UNet2DModel has no norm in a FiLM middle
  if (tensors.has("label_emb.weight")) {
    config.num_class_embeds = tensors.size("label_emb.weight", 0);
  }
  return config;
}

}  // namespace ddpm
