// A model folder with any of diffusers' schedulers gives the same samples here, from the same
// noise, with nothing said of the sampler but its number of steps; and so do ours there.
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>

#include "ddpm/checkpoint/safetensors.h"
#include "ddpm/core/philox.h"
#include "ddpm/pipeline/convert_model.h"
#include "ddpm/pipeline/pipeline.h"
#include "pipeline/small_model.h"
#include "support/run_python.h"
#include "support/tensor_matchers.h"

namespace ddpm {
namespace {

namespace fs = std::filesystem;
using testing::run_python;
using testing::small_model;
using testing::tensors_near;

constexpr const char* kSamplesScript = DDPM_SOURCE_DIR "/tests/parity/scheduler_samples.py";
constexpr uint64_t kNoiseSeed = 11;
constexpr int64_t kNumTimesteps = 1000;

/// What sample() draws for the first images of kNoiseSeed.
NamedTensors noise_of_seed() {
  const auto draw = [](RandomStream stream, int64_t step) {
    return normal_like_images({kNoiseSeed, stream}, {{0, 1}}, static_cast<uint32_t>(step),
                              {1, 8, 8});
  };
  NamedTensors noise{{"x_T", draw(RandomStream::kInitialNoise, 0)}};
  for (int64_t t = 0; t < kNumTimesteps; ++t) {
    noise.emplace_back("step_noise." + std::to_string(t), draw(RandomStream::kStepNoise, t));
  }
  return noise;
}

class SchedulerSamplesTest : public ::testing::Test {
 protected:
  void SetUp() override {
    fs::remove_all(work_);
    fs::create_directories(work_ / "models");
  }
  void TearDown() override { fs::remove_all(work_); }

  /// Compares every folder of models/, drawn here and by diffusers.
  void expect_equal_samples() const {
    write_safetensors(work_ / "noise.safetensors", noise_of_seed());
    run_python({kSamplesScript, "sample", work_ / "models", work_ / "noise.safetensors",
                work_ / "samples.safetensors"});
    const auto theirs = read_safetensors(work_ / "samples.safetensors").tensors;
    for (const auto& [name, expected] : theirs) {
      const Pipeline pipeline = load_pipeline(work_ / "models" / name, {.device = "cpu"});
      SamplerOptions options = default_sampler_options(pipeline);
      options.steps = name.ends_with("_at_20") ? 20 : 10;
      const Tensor ours = sample_images(pipeline, options, {.seed = kNoiseSeed, .num_images = 2});
      // float32 over 10 to 22 calls, and Euler's family begins at sigma instead of sqrt(sigma^2+1):
      // 2e-5 less.
      const double size = std::max(1.0, expected.abs().max().item<double>());
      EXPECT_TRUE(tensors_near(ours, expected, 1e-4 * size)) << name;
    }
  }

  fs::path work_ = fs::path(::testing::TempDir()) / "ddpm-scheduler-samples";
};

TEST_F(SchedulerSamplesTest, TheirFoldersGiveTheSameSamplesHere) {
  run_python({kSamplesScript, "make", work_ / "models"});
  EXPECT_EQ(std::distance(fs::directory_iterator(work_ / "models"), {}), 38);
  expect_equal_samples();
}

TEST_F(SchedulerSamplesTest, OurFoldersGiveTheSameSamplesThere) {
  ImportedModel model{.folder = small_model(), .notes = {}};
  const SchedulerOptions trailing = model.folder.scheduler;
  using enum SamplerKind;
  for (const auto kind : {kDdim, kEuler, kEulerAncestral, kHeun, kDpmpp2s, kDpmpp3s, kDpmpp2m,
                          kDpmpp2mSde, kDpm2s, kDpm3s, kUnipc, kDeis, kLms, kPndm, kPlms}) {
    const bool takes_v = kind != kPndm && kind != kPlms;  // diffusers mixes v of several timesteps
    model.folder.diffusion = {
        .betas = {}, .prediction = takes_v ? PredictionType::kVelocity : PredictionType::kEpsilon};
    model.folder.scheduler = trailing;
    use_scheduler(model, kind);
    write_model_folder(work_ / "models" / enum_word(kind), model.folder);
  }
  expect_equal_samples();
}

}  // namespace
}  // namespace ddpm
