#include "ddpm/pipeline/convert_model.h"

#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <stdexcept>

#include "ddpm/checkpoint/safetensors.h"
#include "ddpm/config/json_config.h"
#include "ddpm/config/toml_config.h"
#include "ddpm/core/file.h"
#include "ddpm/model/network.h"
#include "ddpm/model/state_dict.h"
#include "ddpm/pipeline/model_files.h"
#include "pipeline/small_model.h"

namespace ddpm {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;

fs::path convert_file(const std::string& name) { return fs::path(::testing::TempDir()) / name; }

SimpleUnetConfig talk_config(bool attention, bool cbam) {
  SimpleUnetConfig config{
      .image_channels = 1, .self_attention_levels = {}, .gate_places = {}, .gate_levels = {}};
  if (attention) config.self_attention_levels = {4};
  if (cbam) {
    config.gate = GateKind::kCbam;
    config.gate_places = {GatePlace::kBlockEnd};
  }
  return config;
}

template <typename Call>
std::string refusal_of(Call&& call) {
  try {
    call();
  } catch (const std::invalid_argument& error) {
    return error.what();
  }
  return "";
}

TEST(ConvertModelTest, TheTalksThreeNetworksAreToldByTheirTensors) {
  for (const auto& [attention, cbam] : {std::pair(false, false), {true, false}, {true, true}}) {
    ModelConfig config;
    config.kind = ModelKind::kSimpleUnet;
    config.simple_unet = talk_config(attention, cbam);
    const auto found = talk_network_of(state_dict(*make_network(config)));
    ASSERT_TRUE(found.has_value());
    EXPECT_EQ(config_to_json(*found), config_to_json(config));
  }
  EXPECT_FALSE(talk_network_of({{"conv0.weight", at::zeros({64, 3, 3, 3})}}).has_value());
  EXPECT_FALSE(talk_network_of({{"conv_in.weight", at::zeros({64, 3, 3, 3})}}).has_value());
}

TEST(ConvertModelTest, WhatARecipeSaysOfTheNetworksInputIsKept) {
  RunConfig recipe;
  recipe.data.channels = 1;
  recipe.data.image_size = 8;
  recipe.data.horizontal_flip = false;
  recipe.augment.enabled = true;
  recipe.train.self_conditioning = true;
  UNet2DConfig& unet = recipe.model.unet2d;
  unet.block_out_channels = {8};
  unet.down_block_types = {DownBlockType::kDown};
  unet.up_block_types = {UpBlockType::kUp};
  unet.norm_num_groups = 4;
  const RunConfig resolved = resolve_run_config(recipe, 1, 8, /*num_classes=*/0);
  const fs::path weights = convert_file("guessing.safetensors");
  const fs::path config = convert_file("guessing.toml");
  write_safetensors(weights, state_dict(*make_network(resolved.model)));
  write_file_atomic(config, to_toml(recipe));
  const ModelFolder folder = import_model(weights, {.config = config}).folder;
  EXPECT_TRUE(folder.extras.self_conditioning);
  EXPECT_EQ(folder.model.unet2d.augment_dim, recipe.augment.num_labels());
}

TEST(ConvertModelTest, ASchedulerIsChosenBySamplerAndKeptAfterwards) {
  const fs::path folder = convert_file("scheduler_model");
  fs::remove_all(folder);
  ImportedModel model{.folder = testing::small_model(), .notes = {}};
  model.folder.diffusion.variance = VarianceType::kFixedLarge;
  use_scheduler(model, SamplerKind::kUnipc);
  EXPECT_THAT(model.notes, ::testing::ElementsAre(HasSubstr("variance fixed_large")));
  export_model(folder, model.folder, /*overwrite=*/false);
  const fs::path file = folder / "scheduler" / "scheduler_config.json";
  EXPECT_THAT(read_text_file(file), HasSubstr("\"UniPCMultistepScheduler\""));
  EXPECT_THAT(read_text_file(folder / "model_index.json"), HasSubstr("UniPCMultistepScheduler"));

  std::string text = read_text_file(file);
  text.insert(text.find('{') + 1, "\"skip_prk_steps\": true,");  // as from_config leaves it
  write_file_atomic(file, std::string_view(text));
  const ImportedModel again = import_model(folder, {});
  EXPECT_EQ(again.folder.scheduler, model.folder.scheduler);
  EXPECT_THAT(again.notes, ::testing::ElementsAre(HasSubstr("skip_prk_steps")));
  fs::remove_all(folder);
}

TEST(ConvertModelTest, SafetensorsAreNeverOverwrittenUnasked) {
  const fs::path path = convert_file("convert_out.safetensors");
  fs::remove(path);
  ModelFolder folder;
  folder.weights = {{"w", at::ones({2})}};
  const std::string hash = export_model(path, folder, /*overwrite=*/false);
  folder.weights = {{"w", at::zeros({2})}};
  EXPECT_THAT(refusal_of([&] { export_model(path, folder, /*overwrite=*/false); }),
              HasSubstr("convert_out.safetensors"));
  EXPECT_TRUE(at::equal(read_safetensors(path).tensors[0].second, at::ones({2})));
  EXPECT_NE(export_model(path, folder, /*overwrite=*/true), hash);
  EXPECT_TRUE(at::equal(read_safetensors(path).tensors[0].second, at::zeros({2})));
}

TEST(ConvertModelTest, OptionsThatMeanNothingAreRefused) {
  const fs::path path = convert_file("unknown.safetensors");
  write_safetensors(path, {{"w", at::ones({2})}});
  EXPECT_THAT(refusal_of([&] { import_model(path, {}); }), HasSubstr("--config"));
  EXPECT_THAT(refusal_of([&] { import_model(path, {.raw_weights = true}); }),
              HasSubstr("raw weights"));
  EXPECT_THAT(refusal_of([&] { import_model(path, {.key = "ema"}); }), HasSubstr("no key"));
  EXPECT_THAT(refusal_of([&] { import_model(path, {.improved_diffusion = {.num_heads = 4}}); }),
              HasSubstr("improved-diffusion's tensors alone"));
  EXPECT_THAT(refusal_of([&] { import_model(::testing::TempDir(), {.image_size = 8}); }),
              HasSubstr("file of weights alone"));
  EXPECT_THAT(refusal_of([] { is_safetensors_target("x.pth"); }), HasSubstr("got .pth"));
  EXPECT_TRUE(is_safetensors_target("x.safetensors"));
  EXPECT_FALSE(is_safetensors_target("model.v2"));
}

}  // namespace
}  // namespace ddpm
