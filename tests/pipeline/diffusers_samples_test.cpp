// A model folder that either side wrote gives equal samples in the other, from the same noise.
#include <gtest/gtest.h>

#include <filesystem>

#include "ddpm/checkpoint/safetensors.h"
#include "ddpm/core/philox.h"
#include "ddpm/pipeline/pipeline.h"
#include "pipeline/small_model.h"
#include "support/run_python.h"
#include "support/tensor_matchers.h"

namespace ddpm {
namespace {

namespace fs = std::filesystem;
using testing::small_model;
using testing::tensors_near;

constexpr uint64_t kSeed = 11;
constexpr int64_t kImages = 3;
constexpr int64_t kTimesteps = 50;

/// What sample() draws for the first images of kSeed.
NamedTensors all_noise() {
  const std::vector<uint64_t> images{0, 1, 2};
  const auto draw = [&](RandomStream stream, int64_t step) {
    return normal_like_images({kSeed, stream}, images, static_cast<uint32_t>(step), {1, 8, 8});
  };
  NamedTensors noise{{"x_T", draw(RandomStream::kInitialNoise, 0)}};
  for (int64_t t = 1; t < kTimesteps; ++t) {
    noise.emplace_back("step_noise." + std::to_string(t), draw(RandomStream::kStepNoise, t));
  }
  return noise;
}

Tensor named(const NamedTensors& tensors, const std::string& name) {
  for (const auto& [each, tensor] : tensors) {
    if (each == name) return tensor;
  }
  throw std::runtime_error("no tensor " + name);
}

void expect_equal_samples(const fs::path& work, const fs::path& model) {
  write_safetensors(work / "noise.safetensors", all_noise());
  testing::run_python({DDPM_SOURCE_DIR "/tests/parity/pipeline_samples.py", model.string(),
                       (work / "noise.safetensors").string(),
                       (work / "samples.safetensors").string()});
  const NamedTensors theirs = read_safetensors(work / "samples.safetensors").tensors;

  const Pipeline pipeline = load_pipeline(model, {.device = "cpu"});
  const ImageRequest request{.seed = kSeed, .num_images = kImages};
  const Tensor ddim = sample_images(
      pipeline, {.kind = SamplerKind::kDdim, .steps = 10, .spacing = TimestepSpacing::kTrailing},
      request);
  const Tensor ddpm = sample_images(pipeline, {.kind = SamplerKind::kDdpm}, request);
  // Float32 rounding, and diffusers' float32 tables, over 10 and 50 network calls.
  EXPECT_TRUE(tensors_near(ddim, named(theirs, "ddim"), 1e-4));
  EXPECT_TRUE(tensors_near(ddpm, named(theirs, "ddpm"), 1e-4));
}

class DiffusersSamplesTest : public ::testing::Test {
 protected:
  void SetUp() override {
    fs::remove_all(work_);
    fs::create_directories(work_);
  }
  void TearDown() override { fs::remove_all(work_); }

  fs::path work_ = fs::path(::testing::TempDir()) / "ddpm-diffusers-samples";
};

TEST_F(DiffusersSamplesTest, OurFolderGivesTheSameSamplesInDiffusers) {
  // Not the cosine schedule: its last alpha_bar is near 0, where diffusers' float32 tables are off.
  ModelFolder model = small_model();
  model.diffusion.schedule = ScheduleKind::kLinear;
  model.diffusion.beta_end = 0.2;
  write_model_folder(work_ / "ours", model);
  expect_equal_samples(work_, work_ / "ours");
}

TEST_F(DiffusersSamplesTest, TheirFolderGivesTheSameSamplesHere) {
  expect_equal_samples(work_, work_ / "theirs");
}

}  // namespace
}  // namespace ddpm
