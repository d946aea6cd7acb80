#include "ddpm/serving/api/served_models.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <stdexcept>

#include "pipeline/small_model.h"

namespace ddpm {
namespace {

namespace fs = std::filesystem;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using testing::small_model;

/// A new folder with the models `faces` (no classes) and `digits` (2 classes and a null class).
class ServedModelsTest : public ::testing::Test {
 protected:
  void SetUp() override {
    fs::remove_all(folder_);
    ModelFolder digits = small_model(3);
    digits.extras.class_names = {"zero"};
    digits.extras.null_class = 2;
    write("digits", digits);
    write("faces", small_model());
  }
  void write(const std::string& id, const ModelFolder& model) {
    write_model_folder(folder_ / id, model, /*overwrite=*/true);
  }
  ServedModels served() { return ServedModels(folder_, options_); }
  static std::vector<std::string> ids(const ServedModels& models) {
    std::vector<std::string> found;
    for (const auto& model : models.list()) found.push_back(model->id);
    return found;
  }

  const fs::path folder_ = fs::path(::testing::TempDir()) / "served_models";
  ServedModelOptions options_{.pipeline = {.device = "cpu"}};
};

TEST_F(ServedModelsTest, EachSubfolderThatIsAModelIsServedWithItsFacts) {
  fs::create_directories(folder_ / "notes");
  std::ofstream(folder_ / "readme.txt") << "mine";
  const ServedModels models = served();
  EXPECT_THAT(ids(models), ElementsAre("digits", "faces"));
  const auto digits = models.find("digits");
  EXPECT_EQ(digits->image_shape, (std::vector<int64_t>{1, 8, 8}));
  EXPECT_EQ(digits->num_classes, 2);
  EXPECT_THAT(digits->class_names, ElementsAre("zero", "1"));
  EXPECT_EQ(digits->null_class, 2);
  EXPECT_EQ(digits->num_timesteps, 50);
  EXPECT_EQ(digits->hash.size(), 64U);
  EXPECT_GT(digits->created_s, 1'600'000'000);
  EXPECT_EQ(models.find("faces")->num_classes, 0);
  EXPECT_EQ(models.find("notes"), nullptr);
  EXPECT_EQ(models.engine_models().size(), 2U);
}

TEST_F(ServedModelsTest, AFolderThatIsAModelIsServedAlone) {
  const ServedModels models(folder_ / "faces", options_);
  EXPECT_THAT(ids(models), ElementsAre("faces"));
}

TEST_F(ServedModelsTest, AClassifierIsNamedWithTheReason) {
  ModelFolder classifier;
  classifier.model.kind = ModelKind::kClassifier;
  classifier.model.classifier = {.in_channels = 1,
                                 .num_classes = 2,
                                 .block_out_channels = {8, 16},
                                 .attention_head_dim = 8,
                                 .norm_num_groups = 4};
  classifier.extras.image_size = 8;
  const auto network = make_network(classifier.model);
  for (const auto& item : network->named_parameters()) {
    classifier.weights.emplace_back(item.key(), item.value().detach());
  }
  write("classifier", classifier);
  const ServedModels models = served();
  EXPECT_THAT(ids(models), ElementsAre("digits", "faces"));
  const auto refused = models.refused();
  ASSERT_EQ(refused.size(), 1U);
  EXPECT_EQ(refused[0].id, "classifier");
  EXPECT_THAT(refused[0].reason, HasSubstr("draws no images"));
}

TEST_F(ServedModelsTest, ASelfConditionedModelIsServedWithTheImagesItDraws) {
  write("guessing", small_model(/*num_classes=*/0, /*self_conditioning=*/true));
  const auto model = served().find("guessing");
  ASSERT_NE(model, nullptr);
  EXPECT_EQ(model->image_shape, (std::vector<int64_t>{1, 8, 8}));
  EXPECT_TRUE(model->engine->self_conditioning);
}

TEST_F(ServedModelsTest, AModelThatEnlargesIsServedWithItsFactor) {
  write("enlarging", small_model(0, /*self_conditioning=*/false, /*super_resolution=*/2));
  const auto model = served().find("enlarging");
  ASSERT_NE(model, nullptr);
  EXPECT_EQ(model->image_shape, (std::vector<int64_t>{1, 8, 8}));
  EXPECT_EQ(model->super_resolution, 2);
}

TEST_F(ServedModelsTest, AModelLargerThanTheRoomForModelsIsRefused) {
  options_.max_model_bytes = 10;
  EXPECT_THROW(served(), std::runtime_error);
}

TEST_F(ServedModelsTest, DamagedWeightsAreRefusedWithoutAPath) {
  fs::resize_file(folder_ / "faces/unet/diffusion_pytorch_model.safetensors", 100);
  const ServedModels models = served();
  ASSERT_EQ(models.refused().size(), 1U);
  EXPECT_EQ(models.refused().front().reason, "Its files are damaged.");
}

TEST_F(ServedModelsTest, AReloadKeepsWhatDidNotChange) {
  ServedModels models = served();
  const auto digits = models.find("digits");
  ModelFolder other = small_model();
  other.weights.front().second = other.weights.front().second + 1;
  write("faces", other);
  write("more", small_model());
  const ServedModelChanges changes = models.reload();
  EXPECT_THAT(changes.added, ElementsAre("more"));
  EXPECT_THAT(changes.changed, ElementsAre("faces"));
  EXPECT_THAT(changes.removed, IsEmpty());
  EXPECT_EQ(models.find("digits"), digits);
  EXPECT_EQ(models.find("digits")->engine, digits->engine);
  fs::remove_all(folder_ / "more");
  EXPECT_THAT(models.reload().removed, ElementsAre("more"));
}

TEST_F(ServedModelsTest, AReloadThatFindsNothingChangesNothing) {
  ServedModels models = served();
  fs::remove_all(folder_ / "faces");
  fs::remove_all(folder_ / "digits");
  EXPECT_THROW(models.reload(), std::runtime_error);
  EXPECT_THAT(ids(models), ElementsAre("digits", "faces"));
}

// Pictures name the model by its hash, so weights that replace those of the last look are refused.
TEST_F(ServedModelsTest, WeightsThatChangedSinceTheLastLookAreNotTaken) {
  ServedModels models = served();
  const auto faces = models.find("faces");
  EXPECT_NO_THROW(faces->engine->load());
  ModelFolder other = small_model();
  other.weights.front().second = other.weights.front().second + 1;
  write("faces", other);
  EXPECT_THROW(faces->engine->load(), std::runtime_error);
  models.reload();
  EXPECT_NO_THROW(models.find("faces")->engine->load());
}

TEST_F(ServedModelsTest, NoFolderAndNoModelAreErrors) {
  EXPECT_THROW(ServedModels(folder_ / "absent", options_), std::invalid_argument);
  EXPECT_THROW(ServedModels(folder_ / "faces/scheduler/scheduler_config.json", options_),
               std::invalid_argument);
  fs::create_directories(folder_ / "empty");
  EXPECT_THROW(ServedModels(folder_ / "empty", options_), std::runtime_error);
}

}  // namespace
}  // namespace ddpm
