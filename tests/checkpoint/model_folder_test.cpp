#include "ddpm/checkpoint/model_folder.h"

#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <stdexcept>

#include "checkpoint/safetensors_bytes.h"
#include "ddpm/config/json_config.h"
#include "ddpm/core/file.h"

namespace ddpm {
namespace {

namespace fs = std::filesystem;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using testing::message_of;

constexpr const char* kWeights = "diffusion_pytorch_model.safetensors";

class ModelFolderTest : public ::testing::Test {
 protected:
  void SetUp() override {
    root_ = fs::path(::testing::TempDir()) / "model_folder";
    fs::remove_all(root_);
    path_ = root_ / "model";
  }

  static ModelFolder small_model() {
    ModelFolder folder;
    folder.model.unet2d.in_channels = 1;
    folder.model.unet2d.out_channels = 1;
    folder.model.unet2d.sample_size = 28;
    folder.diffusion.num_timesteps = 300;
    folder.diffusion.variance = VarianceType::kFixedLarge;
    folder.scheduler.timestep_spacing = TimestepSpacing::kTrailing;
    folder.weights = {{"conv_in.weight", at::arange(12, at::kFloat).reshape({3, 4})},
                      {"mid_block.attentions.0.to_q.bias", at::ones({2})}};
    folder.extras = {.class_names = {"shirt", "caf\xc3\xa9"},
                     .data_name = "fashion_mnist",
                     .image_size = 28,
                     .step = 1234,
                     .seed = 1'234'567'890'123'456'789,
                     .value_min = -1.0,
                     .value_max = 1.0};
    return folder;
  }

  std::string refusal() const {
    return message_of<std::invalid_argument>([&] { read_model_folder(path_); });
  }

  std::ptrdiff_t entries_beside() const { return std::distance(fs::directory_iterator(root_), {}); }

  fs::path root_;
  fs::path path_;
};

TEST_F(ModelFolderTest, WhatIsWrittenReadsTheSame) {
  const ModelFolder written = small_model();
  const std::string hash = write_model_folder(path_, written);
  const ModelFolder read = read_model_folder(path_);
  EXPECT_EQ(config_to_json(read.model), config_to_json(written.model));
  EXPECT_EQ(config_to_json(read.diffusion), config_to_json(written.diffusion));
  EXPECT_EQ(config_to_json(read.extras), config_to_json(written.extras));
  EXPECT_EQ(read.scheduler.timestep_spacing, TimestepSpacing::kTrailing);
  EXPECT_TRUE(read.scheduler_found);
  ASSERT_EQ(read.weights.size(), 2u);
  EXPECT_TRUE(at::equal(read.weights[0].second, written.weights[0].second));
  EXPECT_EQ(read.model_hash, hash);
  EXPECT_EQ(hash, sha256_file(path_ / "unet" / kWeights));
  EXPECT_EQ(short_model_hash(hash), hash.substr(0, 12));
}

TEST_F(ModelFolderTest, TheTalksNetworkUsesTheSameLayout) {
  ModelFolder written = small_model();
  written.model = {};
  written.model.kind = ModelKind::kSimpleUnet;
  written.model.simple_unet.image_channels = 3;
  write_model_folder(path_, written);
  EXPECT_THAT(read_text_file(path_ / "model_index.json"), HasSubstr("SimpleUnet"));
  EXPECT_EQ(config_to_json(read_model_folder(path_).model), config_to_json(written.model));
}

TEST_F(ModelFolderTest, ANetworkAloneIsRead) {
  ModelFolder written = small_model();
  write_model_folder(path_, written);
  const ModelFolder read = read_model_folder(path_ / "unet");
  EXPECT_FALSE(read.scheduler_found);
  EXPECT_EQ(config_to_json(read.diffusion), config_to_json(DiffusionConfig()));
  EXPECT_EQ(config_to_json(read.model), config_to_json(written.model));
  EXPECT_EQ(read.extras.image_size, 28) << "from sample_size";
}

TEST_F(ModelFolderTest, FilesSideBySideWithOldNamesAreRead) {
  ModelFolder written = small_model();
  written.weights[1].first = "mid_block.attentions.0.query.bias";
  write_model_folder(path_, written);
  const fs::path flat = root_ / "flat";
  fs::create_directory(flat);
  fs::copy(path_ / "unet", flat);
  fs::copy(path_ / "scheduler" / "scheduler_config.json", flat);
  fs::copy(path_ / "model_index.json", flat);
  const ModelFolder read = read_model_folder(flat);
  EXPECT_EQ(read.diffusion.num_timesteps, 300);
  EXPECT_EQ(read.weights[1].first, "mid_block.attentions.0.to_q.bias");
}

TEST_F(ModelFolderTest, OverwritingIsAskedForAndOnlyForModelFolders) {
  write_model_folder(path_, small_model());
  const auto refused = [&](const fs::path& path, bool overwrite) {
    return message_of<std::invalid_argument>(
        [&] { write_model_folder(path, small_model(), overwrite); });
  };
  EXPECT_THAT(refused(path_, false), AllOf(HasSubstr("model'"), HasSubstr("overwritten")));
  fs::create_directories(root_ / ".model.tmp-1-2-0" / "unet");  // a kill left this
  ModelFolder other = small_model();
  other.extras.step = 5678;
  write_model_folder(path_.string() + "/", other, /*overwrite=*/true);
  EXPECT_EQ(read_model_folder(path_).extras.step, 5678);

  const fs::path mine = root_ / "mine";
  fs::create_directory(mine);
  write_model_folder(mine, small_model());  // an empty folder holds nothing to lose
  fs::remove(mine / "model_index.json");
  EXPECT_THAT(refused(mine, true), HasSubstr("without model_index.json"));
  std::ofstream(root_ / "file") << "x";
  EXPECT_THAT(refused(root_ / "file", true), HasSubstr("got a file"));
  EXPECT_EQ(entries_beside(), 3) << "nothing temporary stays";
}

TEST_F(ModelFolderTest, AFailedWriteLeavesNothing) {
  ModelFolder bad = small_model();
  bad.model.unet2d.in_channels = 0;
  EXPECT_THROW(write_model_folder(path_, bad), std::invalid_argument);
  bad = small_model();
  bad.diffusion.schedule = ScheduleKind::kJsd;
  EXPECT_THROW(write_model_folder(path_, bad), std::invalid_argument);
  bad = small_model();
  bad.weights.push_back(bad.weights[0]);
  EXPECT_THROW(write_model_folder(path_, bad), std::invalid_argument);
  EXPECT_FALSE(fs::exists(path_));
  EXPECT_EQ(entries_beside(), 0);
}

TEST_F(ModelFolderTest, MissingPartsAreNamed) {
  EXPECT_THAT(refusal(), HasSubstr("got nothing"));
  write_model_folder(path_, small_model());
  fs::remove(path_ / "scheduler" / "scheduler_config.json");
  EXPECT_THAT(refusal(), HasSubstr("scheduler/scheduler_config.json"));
  fs::remove(path_ / "unet" / kWeights);
  EXPECT_THAT(refusal(), AllOf(HasSubstr(kWeights), HasSubstr("got none")));
  fs::remove(path_ / "unet" / "config.json");
  EXPECT_THAT(refusal(), HasSubstr("unet/config.json"));
}

TEST_F(ModelFolderTest, OtherFormsOfWeightsAreNamedWithWhatToDo) {
  const std::vector<std::pair<std::string, std::string>> cases{
      {"diffusion_pytorch_model.bin", "pickle"},
      {"model_weights.pth", "pickle"},
      {"diffusion_pytorch_model.fp16.safetensors", "rename"},
      {"diffusion_pytorch_model.safetensors.index.json", "several files"}};
  write_model_folder(path_, small_model());
  fs::remove(path_ / "unet" / kWeights);
  for (const auto& [name, hint] : cases) {
    std::ofstream(path_ / "unet" / name) << "x";
    EXPECT_THAT(refusal(), AllOf(HasSubstr(name), HasSubstr(hint)));
    fs::remove(path_ / "unet" / name);
  }
}

TEST_F(ModelFolderTest, OtherPipelinesAndUnsoundExtrasAreNamed) {
  write_model_folder(path_, small_model());
  const fs::path index = path_ / "model_index.json";
  const std::string sound = read_text_file(index);
  write_file_atomic(index, R"({"_class_name":"LDMPipeline","unet":["diffusers","UNet2DModel"],)"
                           R"("vqvae":["diffusers","VQModel"]})");
  EXPECT_THAT(refusal(), AllOf(HasSubstr("model_index.json"), HasSubstr("vqvae")));
  write_file_atomic(index, "[1]");
  EXPECT_THAT(refusal(), HasSubstr("model_index.json"));
  write_file_atomic(index, R"({"unet":["diffusers","UNet2DModel"],"vae":[null,null]})");
  EXPECT_EQ(refusal(), "");
  write_file_atomic(index, sound);
  write_file_atomic(path_ / "ddpm.json", R"({"format":"ddpm-model","version":2})");
  EXPECT_THAT(refusal(), AllOf(HasSubstr("ddpm.json"), HasSubstr("version")));
  write_file_atomic(path_ / "ddpm.json", R"({"classes":[]})");
  EXPECT_THAT(refusal(), AllOf(HasSubstr("ddpm.json"), HasSubstr("classes")));
  write_file_atomic(path_ / "ddpm.json", "{");
  EXPECT_THAT(message_of<std::runtime_error>([&] { read_model_folder(path_); }),
              HasSubstr("ddpm.json"));
}

}  // namespace
}  // namespace ddpm
