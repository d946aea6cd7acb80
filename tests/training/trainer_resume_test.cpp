#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <stdexcept>

#include "ddpm/training/trainer.h"
#include "training/training_fixtures.h"

namespace ddpm {
namespace {

using testing::BatchNormNetwork;
using testing::expect_same_bits;
using testing::initialized_network;
using testing::lines_of;
using testing::resolved;
using testing::RunFolder;
using testing::tiny_config;
using testing::tiny_images;

struct ResumeCase {
  const char* name;
  RunConfig config;
  bool batch_norm = false;  ///< a network with running statistics instead of the UNet2D
};
void PrintTo(const ResumeCase& resume_case, std::ostream* out) { *out << resume_case.name; }

std::vector<ResumeCase> resume_cases() {
  std::vector<ResumeCase> cases(6, {"", tiny_config()});
  cases[0].name = "Float32";
  cases[0].config.data.horizontal_flip = true;
  cases[0].config.optimizer.decay = LrDecay::kCosine;
  cases[0].config.optimizer.warmup_steps = 4;
  cases[0].config.train.log_every = 3;  // the run stops amid a window

  cases[1].name = "Bfloat16AccumulationDropoutClassesEdm";
  cases[1].config.data.horizontal_flip = true;
  cases[1].config.model.unet2d.dropout = 0.2;
  cases[1].config.optimizer.kind = OptimizerKind::kAdamW;
  cases[1].config.optimizer.weight_decay = 0.01;
  cases[1].config.train.precision = Precision::kBf16;
  cases[1].config.train.accumulation = 2;
  cases[1].config.train.class_conditional = true;
  cases[1].config.diffusion.prediction = PredictionType::kEdm;
  cases[1].config.train.timestep_sampling = TimestepSampling::kLogNormal;

  cases[2].name = "BatchNorm";
  cases[2].batch_norm = true;

  // Two timesteps, so that the history is full by the time the run stops.
  cases[3].name = "LearnedVarianceLossAwareTimesteps";
  cases[3].config.diffusion.num_timesteps = 2;
  cases[3].config.diffusion.variance = VarianceType::kLearnedRange;
  cases[3].config.loss.kind = LossKind::kHybrid;
  cases[3].config.train.timestep_sampling = TimestepSampling::kLossAware;
  cases[3].config.train.accumulation = 2;
  cases[3].config.train.class_conditional = true;
  cases[3].config.train.class_dropout = 0.3;
  cases[3].config.train.offset_noise = 0.1;
  cases[3].config.train.input_perturbation = 0.1;
  cases[3].config.train.self_conditioning = true;
  cases[3].config.ema.power_stds = {0.05, 0.1};

  cases[4].name = "Classifier";
  cases[4].config.model.kind = ModelKind::kClassifier;
  cases[4].config.model.classifier = {
      .block_out_channels = {8, 16}, .attention_head_dim = 8, .norm_num_groups = 4, .dropout = 0.1};
  cases[4].config.loss.kind = LossKind::kCrossEntropy;
  cases[4].config.train.log_every = 3;

  cases[5].name = "AugmentedSuperResolution";
  cases[5].config.train.super_resolution = 2;
  cases[5].config.augment.enabled = true;
  cases[5].config.augment.probability = 0.6;
  cases[5].config.train.self_conditioning = true;
  for (ResumeCase& resume_case : cases) resume_case.config = resolved(resume_case.config);
  return cases;
}

class TrainerResumeTest : public ::testing::TestWithParam<ResumeCase> {
 protected:
  static std::shared_ptr<NetworkImpl> network() {
    if (GetParam().batch_norm) return std::make_shared<BatchNormNetwork>();
    return initialized_network(GetParam().config);
  }
};

void expect_same_run(const CheckpointContents& got, const CheckpointContents& expected) {
  expect_same_bits(got.weights, expected.weights);
  expect_same_bits(got.ema, expected.ema);
  expect_same_bits(got.optimizer, expected.optimizer);
  EXPECT_EQ(got.state, expected.state);
}

/// The rows without what a clock or the system says.
std::vector<nlohmann::json> timeless_metrics_of(const RunFolder& folder, const std::string& run) {
  std::vector<nlohmann::json> rows;
  for (const std::string& line : lines_of(folder / (run + "/metrics.jsonl"))) {
    rows.push_back(nlohmann::json::parse(line));
    for (const char* name : {"img_per_s", "step_ms", "data_wait", "memory_mib"}) {
      EXPECT_EQ(rows.back().erase(name), 1u) << name;
    }
  }
  return rows;
}

CheckpointContents newest(const RunFolder& folder, const std::string& run) {
  const auto found = find_checkpoint(folder / run);
  EXPECT_TRUE(found.has_value());
  return read_checkpoint(found->entry.folder);
}

TEST_P(TrainerResumeTest, AStoppedRunGoesOnToTheBit) {
  const RunFolder folder;
  RunConfig config = GetParam().config;
  Trainer straight(config, network(), tiny_images(), folder / "straight");
  straight.run();

  TrainerHooks stop;
  int64_t steps = 0;
  stop.on_step = [&](int64_t step) { steps = step; };
  stop.poll = [&] { return steps == 4 ? StopRequest::kStop : StopRequest::kNone; };
  Trainer(config, network(), tiny_images(), folder / "stopped", stop).run();
  at::manual_seed(12345);  // whatever a new process starts with
  Trainer resumed(config, network(), tiny_images(), folder / "stopped");
  resumed.resume(newest(folder, "stopped"));
  EXPECT_EQ(resumed.step(), 4);
  resumed.run();
  expect_same_run(resumed.checkpoint_contents(), straight.checkpoint_contents());
  EXPECT_EQ(timeless_metrics_of(folder, "stopped"), timeless_metrics_of(folder, "straight"));
}

TEST_P(TrainerResumeTest, ARunThatDiedRepeatsWhatItsCheckpointLacks) {
  const RunFolder folder;
  RunConfig config = GetParam().config;
  config.train.checkpoint_every = 3;
  Trainer straight(config, network(), tiny_images(), folder / "straight");
  straight.run();

  TrainerHooks die;
  die.on_step = [](int64_t step) {
    if (step == 6) throw std::logic_error("power cut");  // steps 4 and 5 are logged, not saved
  };
  EXPECT_THROW(Trainer(config, network(), tiny_images(), folder / "died", die).run(),
               std::logic_error);
  Trainer resumed(config, network(), tiny_images(), folder / "died");
  resumed.resume(newest(folder, "died"));
  EXPECT_EQ(resumed.step(), 3);
  resumed.run();
  expect_same_run(resumed.checkpoint_contents(), straight.checkpoint_contents());
  EXPECT_EQ(timeless_metrics_of(folder, "died"), timeless_metrics_of(folder, "straight"));
}

INSTANTIATE_TEST_SUITE_P(Recipes, TrainerResumeTest, ::testing::ValuesIn(resume_cases()),
                         [](const auto& test) { return test.param.name; });

TEST(TrainerResumeErrorsTest, AnotherSeedBatchOrDataIsRefused) {
  const RunFolder folder;
  const RunConfig config = resolved(tiny_config());
  const CheckpointContents contents =
      Trainer(config, initialized_network(config), tiny_images(), folder.path())
          .checkpoint_contents();
  const auto message = [&](const RunConfig& other, const ImageSet& images) -> std::string {
    Trainer trainer(other, initialized_network(other), images, folder.path());
    try {
      trainer.resume(contents);
    } catch (const std::invalid_argument& error) {
      return error.what();
    }
    return "";
  };
  RunConfig seed = config;
  seed.train.seed = 4;
  EXPECT_EQ(message(seed, tiny_images()),
            "[Trainer] an exact resume needs the seed of the checkpoint: expected 3, got 4");
  RunConfig batch = config;
  batch.train.batch_size = 4;
  EXPECT_NE(message(batch, tiny_images()).find("the batch_size of the checkpoint"),
            std::string::npos);
  EXPECT_NE(message(config, make_shapes(49, 8, 1, 0)).find("the num_images of the checkpoint"),
            std::string::npos);
  EXPECT_EQ(message(config, tiny_images()), "");
}

}  // namespace
}  // namespace ddpm
