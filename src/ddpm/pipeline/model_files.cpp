#include "ddpm/pipeline/model_files.h"

#include <algorithm>
#include <array>

#include "ddpm/checkpoint/safetensors.h"
#include "ddpm/checkpoint/torch_file.h"
#include "ddpm/core/check.h"

namespace ddpm {
namespace {

namespace fs = std::filesystem;

bool is_torch_file(const fs::path& path) {
  constexpr std::array kExtensions{".pth", ".pt", ".bin", ".ckpt"};
  return std::find(kExtensions.begin(), kExtensions.end(), path.extension()) != kExtensions.end();
}

}  // namespace

bool is_weights_file(const fs::path& path) {
  return !fs::is_directory(path) && (is_torch_file(path) || path.extension() == ".safetensors");
}

NamedTensors read_weights_file(const fs::path& path, const std::string& key) {
  check_arg(fs::exists(path), "[read_weights_file] '", path.string(),
            "': expected a file of weights, got nothing there");
  if (is_torch_file(path)) return read_torch_file(path, key);
  check_arg(key.empty(), "[read_weights_file] '", path.string(),
            "': expected no key for a .safetensors file, which holds one set of weights, got '",
            key, "'");
  return read_safetensors(path, TensorStorage::kMapped).tensors;
}

std::optional<ModelConfig> talk_network_of(const NamedTensors& weights) {
  const Tensor* first = find_tensor(weights, "conv0.weight");
  const bool is_talk = first != nullptr && first->dim() == 4 &&
                       find_tensor(weights, "down_blocks.0.transform.weight") != nullptr;
  if (!is_talk) return std::nullopt;
  ModelConfig config;
  config.kind = ModelKind::kSimpleUnet;
  SimpleUnetConfig& unet = config.simple_unet;
  unet.image_channels = first->size(1);
  if (find_tensor(weights, "self_attention.attn.in_proj_weight") != nullptr) {
    unet.self_attention_levels = {static_cast<int64_t>(unet.level_channels.size()) - 1};
  }
  if (find_tensor(weights, "down_blocks.0.cbam.channel_attn.1.weight") != nullptr) {
    unet.gate = GateKind::kCbam;
    unet.gate_places = {GatePlace::kBlockEnd};
  }
  return config;
}

}  // namespace ddpm
