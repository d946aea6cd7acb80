#include "ddpm/checkpoint/network_json.h"

#include <algorithm>
#include <array>
#include <set>
#include <string_view>
#include <utility>
#include <vector>

#include "ddpm/checkpoint/diffusers_json.h"
#include "ddpm/config/json_config.h"
#include "ddpm/core/check.h"

namespace ddpm {
namespace {

using Json = nlohmann::json;

constexpr const char* kDiffusersClass = "UNet2DModel";
constexpr const char* kUNet2DClass = "UNet2D";
constexpr std::string_view kOwnBlockPrefix = "ddpm.";
constexpr std::array kBlockLists{"down_block_types", "up_block_types"};
constexpr const char* kSimpleUnetClass = "SimpleUnet";
constexpr const char* kClassifierClass = "DdpmClassifier";

constexpr const char* kWeightInit = "weight_init";

/// Options whose 0 here is null there.
constexpr std::array kNullAtZero{"sample_size", "attention_head_dim", "attn_norm_num_groups",
                                 "num_class_embeds"};

void null_to_zero(Json& values, const std::string& where) {
  for (const char* key : kNullAtZero) {
    if (!values.contains(key)) continue;
    check_arg(values[key] != 0, "[", where, "] ", key, ": expected null or at least 1, got 0");
    if (values[key].is_null()) values[key] = 0;
  }
  if (!values.contains("class_embed_type")) return;
  Json& type = values["class_embed_type"];
  check_arg(type != "none", "[", where,
            "] class_embed_type: expected null, timestep or identity, got 'none'");
  if (type.is_null()) type = "none";
}

void square_sample_size(Json& values, const std::string& where) {
  if (!values.contains("sample_size") || !values["sample_size"].is_array()) return;
  const Json size = values["sample_size"];
  check_arg(size.size() == 2 && size[0] == size[1], "[", where,
            "] sample_size: expected a square, got ", size.dump());
  values["sample_size"] = size[0];
}

/// Options of diffusers that this project has at one value only.
void take_fixed_options(Json& values, const std::string& where) {
  take_fixed(values, "time_embedding_type", "positional", where);
  take_fixed(values, "mid_block_type", "UNetMidBlock2D", where);
  values.erase("num_train_timesteps");  // says nothing where the time embedding is positional
  const auto dim = values.find("time_embedding_dim");
  if (dim == values.end()) return;
  const auto channels = values.find("block_out_channels");
  const Json first = channels != values.end() && channels->is_array() && !channels->empty()
                         ? channels->front()
                         : Json(UNet2DConfig().block_out_channels.front());
  const bool is_default =
      dim->is_null() || (dim->is_number_integer() && first.is_number_integer() &&
                         dim->get<std::int64_t>() == 4 * first.get<std::int64_t>());
  check_arg(is_default, "[", where, "] time_embedding_dim: expected null or 4 x ", first.dump(),
            ", got ", dim->dump());
  values.erase(dim);
}

/// Block types of the first versions begin with "UNetRes", and silu was swish.
void rename_old_words(Json& values) {
  constexpr std::string_view old_prefix = "UNetRes";
  for (const char* key : kBlockLists) {
    if (!values.contains(key) || !values[key].is_array()) continue;
    for (Json& type : values[key]) {
      if (!type.is_string()) continue;
      const auto word = type.get<std::string>();
      if (word.starts_with(old_prefix)) type = word.substr(old_prefix.size());
    }
  }
  if (values.value("act_fn", Json()) == "swish") values["act_fn"] = "silu";
}

UNet2DConfig unet2d_from_json(Json values, const std::string& where) {
  take_fixed_options(values, where);
  square_sample_size(values, where);
  null_to_zero(values, where);
  rename_old_words(values);
  take_fixed(values, "act_fn", "silu", where);
  for (const char* key : {"in_channels", "out_channels"}) {
    if (!values.contains(key)) values[key] = 3;  // diffusers' default; ours is 0, from the data
    check_arg(values[key] != 0, "[", where, "] ", key, ": expected at least 1, got 0");
  }
  return config_from_json<UNet2DConfig>(values, where);
}

/// The keys of the options that diffusers lacks.
std::vector<std::string> own_keys() {
  std::vector<std::string> keys;
  UNet2DConfig().visit_own_fields([&](const char* key, const auto&...) { keys.emplace_back(key); });
  return keys;
}

/// Reads a UNet2DModel, where an option that diffusers lacks would say what diffusers doesn't do.
UNet2DConfig unet2d_model_from_json(const Json& values, const std::string& where) {
  for (const std::string& key : own_keys()) {
    check_arg(!values.contains(key), "[", where, "] ", key, ": expected _class_name ", kUNet2DClass,
              " beside it, got ", kDiffusersClass, ", which has no such option");
  }
  return unet2d_from_json(values, where);
}

/// Takes the prefix off our block types.
UNet2DConfig own_unet2d_from_json(Json values, const std::string& where) {
  for (const char* key : kBlockLists) {
    if (!values.contains(key) || !values[key].is_array()) continue;
    for (Json& type : values[key]) {
      const std::string word = type.is_string() ? type.get<std::string>() : type.dump();
      check_arg(word.starts_with(kOwnBlockPrefix), "[", where, "] ", key,
                ": expected names that begin with '", kOwnBlockPrefix, "' beside _class_name ",
                kUNet2DClass, ", got '", word, "'");
      type = word.substr(kOwnBlockPrefix.size());
    }
  }
  return unet2d_from_json(std::move(values), where);
}

Json unet2d_to_json(const UNet2DConfig& config) {
  check_arg(config.in_channels > 0 && config.out_channels > 0,
            "[network_to_json] in_channels and out_channels: expected at least 1, got ",
            config.in_channels, " and ", config.out_channels);
  Json json = config_to_json(config);
  for (const char* key : kNullAtZero) {
    if (json[key] == 0) json[key] = nullptr;
  }
  if (json["class_embed_type"] == "none") json["class_embed_type"] = nullptr;
  json["time_embedding_type"] = "positional";
  json["time_embedding_dim"] = nullptr;
  json["mid_block_type"] = "UNetMidBlock2D";
  json["num_train_timesteps"] = nullptr;
  json.erase(kWeightInit);
  return json;
}

/// UNet2DModel.from_pretrained doesn't look at the class name, and only warns of options that it
/// doesn't know. It does refuse a block type that it doesn't know.
void name_unet2d_class(Json& json, bool is_diffusers) {
  json["_class_name"] = is_diffusers ? kDiffusersClass : kUNet2DClass;
  if (is_diffusers) {
    for (const std::string& key : own_keys()) json.erase(key);
    return;
  }
  for (const char* key : kBlockLists) {
    for (Json& type : json[key]) type = c10::str(kOwnBlockPrefix, type.get<std::string>());
  }
}

/// "down_blocks.1.attentions.0.query.weight" -> "down_blocks.1.attentions.0.to_q.weight".
std::string current_name(const std::string& name) {
  constexpr std::array<std::pair<std::string_view, std::string_view>, 4> renames{
      {{"query", "to_q"}, {"key", "to_k"}, {"value", "to_v"}, {"proj_attn", "to_out.0"}}};
  const auto dot = name.rfind('.');
  if (dot == std::string::npos || dot == 0) return name;
  const auto start = name.rfind('.', dot - 1);
  if (start == std::string::npos ||
      name.substr(0, start + 1).find("attentions.") == std::string::npos)
    return name;
  const std::string_view layer = std::string_view(name).substr(start + 1, dot - start - 1);
  for (const auto& [old_layer, layer_today] : renames) {
    if (layer == old_layer) {
      return c10::str(name.substr(0, start + 1), layer_today, name.substr(dot));
    }
  }
  return name;
}

}  // namespace

bool is_diffusers_network(const ModelConfig& config) {
  if (config.kind != ModelKind::kUNet2D) return false;
  const Json values = config_to_json(config.unet2d);
  const Json defaults = config_to_json(UNet2DConfig());
  const std::vector<std::string> keys = own_keys();
  return std::ranges::all_of(keys, [&](const std::string& key) {
    return key == kWeightInit || values[key] == defaults[key];
  });
}

Json network_to_json(const ModelConfig& config) {
  Json json;
  switch (config.kind) {
    case ModelKind::kUNet2D:
      json = unet2d_to_json(config.unet2d);
      name_unet2d_class(json, is_diffusers_network(config));
      break;
    case ModelKind::kSimpleUnet:
      check_arg(config.simple_unet.image_channels > 0,
                "[network_to_json] image_channels: expected at least 1, got ",
                config.simple_unet.image_channels);
      json = config_to_json(config.simple_unet);
      json["_class_name"] = kSimpleUnetClass;
      break;
    case ModelKind::kClassifier:
      check_arg(config.classifier.in_channels > 0 && config.classifier.num_classes > 0,
                "[network_to_json] in_channels and num_classes: expected at least 1, got ",
                config.classifier.in_channels, " and ", config.classifier.num_classes);
      json = config_to_json(config.classifier);
      json["_class_name"] = kClassifierClass;
      break;
  }
  json["_diffusers_version"] = kDiffusersVersion;
  return json;
}

ModelConfig network_from_json(const Json& json, const std::string& where) {
  const std::string class_name = class_name_of(json, kDiffusersClass, where);
  Json values = without_private_keys(json);
  ModelConfig config;
  if (class_name == kDiffusersClass) {
    config.unet2d = unet2d_model_from_json(values, where);
    return config;
  }
  if (class_name == kUNet2DClass) {
    config.unet2d = own_unet2d_from_json(std::move(values), where);
    return config;
  }
  if (class_name == kClassifierClass) {
    config.kind = ModelKind::kClassifier;
    config.classifier = config_from_json<ClassifierConfig>(values, where);
    check_arg(config.classifier.in_channels > 0 && config.classifier.num_classes > 0, "[", where,
              "] in_channels and num_classes: expected at least 1, got ",
              config.classifier.in_channels, " and ", config.classifier.num_classes);
    return config;
  }
  check_arg(class_name == kSimpleUnetClass, "[", where, "] _class_name: expected ", kDiffusersClass,
            ", ", kUNet2DClass, ", ", kSimpleUnetClass, " or ", kClassifierClass, ", got '",
            class_name, "'");
  config.kind = ModelKind::kSimpleUnet;
  config.simple_unet = config_from_json<SimpleUnetConfig>(values, where);
  check_arg(config.simple_unet.image_channels > 0, "[", where,
            "] image_channels: expected at least 1, got 0");
  return config;
}

void rename_old_attention(NamedTensors& weights, const std::string& where) {
  std::set<std::string> names;
  for (auto& [name, tensor] : weights) {
    name = current_name(name);
    check_arg(names.insert(name).second, "[", where, "] tensor '", name,
              "': expected it once, got it under an older name too");
  }
}

}  // namespace ddpm
