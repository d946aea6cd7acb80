#include "ddpm/pipeline/pipeline.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <stdexcept>

#include "ddpm/checkpoint/checkpoint_folder.h"
#include "ddpm/config/json_config.h"
#include "ddpm/config/run_config.h"
#include "ddpm/core/device.h"
#include "ddpm/model/network.h"
#include "pipeline/small_model.h"
#include "support/tensor_matchers.h"

namespace ddpm {
namespace {

namespace fs = std::filesystem;
using testing::small_model;
using testing::tensors_near;

class PipelineTest : public ::testing::Test {
 protected:
  void SetUp() override {
    const auto* test = ::testing::UnitTest::GetInstance()->current_test_info();
    folder_ = fs::path(::testing::TempDir()) / (std::string("ddpm-") + test->name());
    fs::remove_all(folder_);
    fs::create_directories(folder_);
  }
  void TearDown() override { fs::remove_all(folder_); }

  Pipeline open(const ModelFolder& model) {
    write_model_folder(folder_ / "model", model);
    return load_pipeline(folder_ / "model", {.device = "cpu"});  // fp32 without TF32
  }

  fs::path folder_;
  SamplerOptions options_{.steps = 10};
};

TEST_F(PipelineTest, ImageIsTheSameAloneAndInABatchOf64) {
  const Pipeline pipeline = open(small_model());
  const Tensor batch = sample_images(pipeline, options_, {.seed = 3, .num_images = 64});
  const Tensor alone = sample_images(pipeline, options_, {.seed = 3, .first_image = 41});
  const Tensor again = sample_images(pipeline, options_, {.seed = 3, .num_images = 64});
  // Convolutions may sum in another order at another batch size: float32 rounding over 10 steps.
  EXPECT_TRUE(tensors_near(alone[0], batch[41], 1e-4));
  EXPECT_TRUE(at::equal(again, batch));
  EXPECT_GT((batch[40] - batch[41]).abs().max().item<double>(), 0.1);
}

TEST_F(PipelineTest, RequestsAreCutIntoBatches) {
  const Pipeline pipeline = open(small_model());
  const Tensor whole = sample_images(pipeline, options_, {.seed = 1, .num_images = 7});
  const Tensor parts =
      sample_images(pipeline, options_, {.seed = 1, .num_images = 7, .batch_size = 3});
  EXPECT_TRUE(tensors_near(parts, whole, 1e-4));
}

TEST_F(PipelineTest, ClassesChangeTheImageAndAreChecked) {
  const Pipeline pipeline = open(small_model(/*num_classes=*/3));
  const auto draw = [&](const Tensor& labels) {
    return sample_images(pipeline, options_, {.seed = 1, .num_images = 2, .class_labels = labels});
  };
  const Tensor zeros = at::zeros({2}, at::kLong);
  EXPECT_GT((draw(zeros) - draw(zeros + 2)).abs().max().item<double>(), 1e-3);
  EXPECT_THROW(draw({}), std::invalid_argument);
  EXPECT_THROW(draw(zeros + 3), std::invalid_argument);
  EXPECT_THROW(draw(at::zeros({3}, at::kLong)), std::invalid_argument);
}

TEST_F(PipelineTest, ClassesAreRefusedByAModelWithoutThem) {
  const Pipeline pipeline = open(small_model());
  EXPECT_THROW(sample_images(pipeline, options_, {.class_labels = at::zeros({1}, at::kLong)}),
               std::invalid_argument);
}

TEST_F(PipelineTest, RunFolderGivesTheEmaOfItsNewestCheckpointOrTheRawWeights) {
  const ModelFolder model = small_model();
  RunConfig recipe;
  recipe.model = model.model;
  recipe.diffusion = model.diffusion;
  NamedTensors raw;
  for (const auto& [name, tensor] : model.weights) raw.emplace_back(name, tensor * 0.5);
  CheckpointContents contents;
  contents.weights = raw;
  contents.ema = model.weights;
  contents.optimizer = {{"exp_avg.x", at::zeros({1})}};
  contents.state = {
      {"step", 4}, {"image_size", 8}, {"class_names", {"a", "b"}}, {"data_name", "d"}};
  contents.recipe = config_to_json(recipe);
  write_checkpoint(folder_ / "run", 4, contents);

  const Pipeline ema = load_pipeline(folder_ / "run", {.device = "cpu"});
  const Pipeline of_model = open(model);
  const ImageRequest request{.seed = 9, .num_images = 2};
  const Tensor expected = sample_images(of_model, options_, request);
  EXPECT_TRUE(at::equal(sample_images(ema, options_, request), expected));
  EXPECT_EQ(ema.folder.extras.step, 4);
  EXPECT_THAT(ema.folder.extras.class_names, ::testing::ElementsAre("a", "b"));
  const Pipeline trained = load_pipeline(folder_ / "run", {.device = "cpu", .raw_weights = true});
  EXPECT_FALSE(at::equal(sample_images(trained, options_, request), expected));
}

TEST_F(PipelineTest, WeightsThatDoNotFitAreNamed) {
  ModelFolder model = small_model();
  model.weights.pop_back();
  write_model_folder(folder_ / "model", model);
  try {
    load_pipeline(folder_ / "model");
    FAIL() << "expected std::invalid_argument";
  } catch (const std::invalid_argument& error) {
    EXPECT_THAT(error.what(), ::testing::HasSubstr("tensor is missing: expected 'conv_out.bias'"));
  }
}

TEST_F(PipelineTest, PathThatHoldsNoModelIsNamed) {
  EXPECT_THROW(load_pipeline(folder_ / "absent"), std::invalid_argument);
  EXPECT_THROW(load_pipeline(folder_), std::invalid_argument);
}

TEST_F(PipelineTest, Bf16NetworkGivesNearlyTheSameImages) {
  write_model_folder(folder_ / "model", small_model());
  const Pipeline fp32 = load_pipeline(folder_ / "model", {.device = "cpu"});
  const Pipeline bf16 =
      load_pipeline(folder_ / "model", {.device = "cpu", .precision = Precision::kBf16});
  const ImageRequest request{.seed = 2, .num_images = 4};
  const Tensor expected = sample_images(fp32, options_, request);
  const Tensor got = sample_images(bf16, options_, request);
  EXPECT_EQ(got.scalar_type(), at::kFloat);
  // bf16 has 8 bits: each of 10 network calls is off by about 0.4%.
  EXPECT_LT((got - expected).abs().mean().item<double>(), 0.05);
  EXPECT_FALSE(at::equal(got, expected));
}

TEST_F(PipelineTest, AutoPrecisionIsWhatTheDevicePrefers) {
  write_model_folder(folder_ / "model", small_model());
  const auto images = [&](Precision precision) {
    return sample_images(
        load_pipeline(folder_ / "model", {.device = "cpu", .precision = precision}), options_,
        {.seed = 2, .num_images = 2});
  };
  const Precision wanted = prefers_bf16(at::kCPU) ? Precision::kBf16 : Precision::kFp32;
  EXPECT_TRUE(at::equal(images(Precision::kAuto), images(wanted)));
}

}  // namespace
}  // namespace ddpm
