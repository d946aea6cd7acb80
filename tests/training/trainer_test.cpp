#include "ddpm/training/trainer.h"

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <cerrno>
#include <limits>
#include <optional>

#include "ddpm/checkpoint/model_folder.h"
#include "ddpm/config/toml_config.h"
#include "ddpm/data/image_codec.h"
#include "training/training_fixtures.h"

namespace ddpm {
namespace {

namespace fs = std::filesystem;
const auto* const kOneThread =
    ::testing::AddGlobalTestEnvironment(new testing::OneThread);  // gtest deletes it
using testing::initialized_network;
using testing::lines_of;
using testing::read_text;
using testing::resolved;
using testing::RunFolder;
using testing::tiny_config;
using testing::tiny_images;

std::vector<int64_t> checkpoint_steps(const fs::path& run_folder) {
  std::vector<int64_t> steps;
  for (const CheckpointEntry& entry : list_checkpoints(run_folder)) steps.push_back(entry.step);
  return steps;
}

std::vector<nlohmann::json> metrics_of(const RunFolder& folder) {
  std::vector<nlohmann::json> rows;
  for (const std::string& line : lines_of(folder / "metrics.jsonl")) {
    rows.push_back(nlohmann::json::parse(line));
  }
  return rows;
}

TEST(TrainerTest, TheLossGoesDown) {
  const RunFolder folder;
  RunConfig config = resolved(tiny_config());
  config.train.steps = 150;
  config.train.log_every = 30;
  Trainer trainer(config, initialized_network(config), tiny_images(), folder.path());
  const TrainResult result = trainer.run();
  EXPECT_EQ(result.reason, EndReason::kFinished);
  EXPECT_EQ(result.step, 150);
  const auto rows = metrics_of(folder);
  ASSERT_EQ(rows.size(), 5u);
  // Predicting no noise at all gives 1.
  EXPECT_LT(rows.back()["loss"].get<double>(), 0.5);
  EXPECT_LT(rows.back()["loss"].get<double>(), 0.6 * rows.front()["loss"].get<double>());
  // Noise is hard to see where there is little: the first quarter of t has the largest loss.
  EXPECT_GT(rows.back()["loss_q1"], rows.back()["loss_q4"]);
  EXPECT_GT(rows.back()["img_per_s"], 0);
  EXPECT_GE(rows.back()["data_wait"], 0);
  EXPECT_LE(rows.back()["data_wait"], 1);
  EXPECT_GT(rows.back()["memory_mib"], 1);
  EXPECT_EQ(rows.back()["nonfinite"], 0);
}

TEST(TrainerTest, TheRunFolderHoldsRecipeMetricsSamplesCheckpointsAndModel) {
  const RunFolder folder;
  RunConfig config = resolved(tiny_config());
  config.train.preview_every = 4;
  config.train.checkpoint_every = 2;
  config.train.keep_checkpoints = 2;
  Trainer trainer(config, initialized_network(config), tiny_images(), folder.path());
  trainer.run();
  EXPECT_EQ(read_text(folder / "recipe.toml"), to_toml(config));
  EXPECT_EQ(metrics_of(folder).size(), 4u);
  EXPECT_EQ(checkpoint_steps(folder.path()), (std::vector<int64_t>{6, 8}));
  const Image grid = read_image(folder / "samples/step-00000004.png", /*max_pixels=*/1'000'000);
  EXPECT_EQ(grid.width, grid.height);
  EXPECT_TRUE(fs::exists(folder / "samples/step-00000008.png"));
  EXPECT_FALSE(fs::exists(folder / "samples/step-00000002.png"));

  const ModelFolder model = read_model_folder(folder / "model");
  const auto ema = trainer.checkpoint_contents().ema;
  const std::map<std::string, Tensor> exported(model.weights.begin(), model.weights.end());
  ASSERT_EQ(exported.size(), ema.size());
  for (const auto& [name, tensor] : ema) EXPECT_TRUE(at::equal(exported.at(name), tensor)) << name;
  EXPECT_EQ(model.extras.step, 8);
  EXPECT_EQ(model.extras.class_names.size(), 8u);
}

TEST(TrainerTest, APreviewShowsTheEmaAndDisturbsNothing) {
  const auto weights_after = [](int64_t preview_every) {
    const RunFolder folder;
    RunConfig config = resolved(tiny_config());
    config.train.preview_every = preview_every;
    Trainer trainer(config, initialized_network(config), tiny_images(), folder.path());
    trainer.run();
    return trainer.checkpoint_contents().weights;
  };
  const NamedTensors without = weights_after(0);
  const NamedTensors with = weights_after(1);
  for (size_t i = 0; i < with.size(); ++i) {
    EXPECT_TRUE(at::equal(with[i].second, without[i].second)) << with[i].first;
  }
}

TEST(TrainerTest, ClassLabelsReachTheNetwork) {
  const RunFolder folder;
  RunConfig config = tiny_config();
  config.train.class_conditional = true;
  config.train.preview_every = 8;
  config = resolved(config);
  Trainer trainer(config, initialized_network(config), tiny_images(), folder.path());
  const NamedTensors before = trainer.checkpoint_contents().weights;
  trainer.run();
  const NamedTensors after = trainer.checkpoint_contents().weights;
  for (size_t i = 0; i < after.size(); ++i) {
    if (after[i].first != "class_embedding.weight") continue;
    EXPECT_FALSE(at::equal(after[i].second, before[i].second));
  }
  EXPECT_TRUE(fs::exists(folder / "samples/step-00000008.png"));
}

TEST(TrainerTest, AStopRequestFinishesTheStepAndSaves) {
  const RunFolder folder;
  const RunConfig config = resolved(tiny_config());
  int64_t steps = 0;
  TrainerHooks hooks;
  hooks.on_step = [&](int64_t step) { steps = step; };
  hooks.poll = [&] { return steps == 3 ? StopRequest::kStop : StopRequest::kNone; };
  Trainer trainer(config, initialized_network(config), tiny_images(), folder.path(), hooks);
  const TrainResult result = trainer.run();
  EXPECT_EQ(result.reason, EndReason::kStopped);
  EXPECT_EQ(result.step, 3);
  EXPECT_EQ(checkpoint_steps(folder.path()), std::vector<int64_t>{3});
  EXPECT_TRUE(fs::exists(folder / "model"));
}

TEST(TrainerTest, ASaveRequestSavesAndGoesOn) {
  const RunFolder folder;
  const RunConfig config = resolved(tiny_config());
  int64_t steps = 0;
  TrainerHooks hooks;
  hooks.on_step = [&](int64_t step) { steps = step; };
  hooks.poll = [&] { return steps == 3 ? StopRequest::kSaveNow : StopRequest::kNone; };
  Trainer trainer(config, initialized_network(config), tiny_images(), folder.path(), hooks);
  EXPECT_EQ(trainer.run().step, 8);
  EXPECT_EQ(checkpoint_steps(folder.path()), (std::vector<int64_t>{3, 8}));
}

/// Poisons a weight before the steps in [first, last).
TrainerHooks poison(const std::shared_ptr<NetworkImpl>& network, int64_t first, int64_t last) {
  TrainerHooks hooks;
  auto good = std::make_shared<Tensor>();
  hooks.on_step = [=](int64_t step) {
    const Tensor now = network->named_parameters()["conv_in.bias"].detach();
    if (step == first) {
      *good = now.clone();
      now.fill_(std::numeric_limits<float>::quiet_NaN());
    }
    if (step == last) now.copy_(*good);
  };
  return hooks;
}

TEST(TrainerTest, AFewNonFiniteStepsAreSkippedAndCounted) {
  const RunFolder folder;
  RunConfig config = resolved(tiny_config());
  config.train.max_nonfinite_in_a_row = 3;
  const auto network = initialized_network(config);
  Trainer trainer(config, network, tiny_images(), folder.path(), poison(network, 2, 4));
  EXPECT_EQ(trainer.run().step, 8);
  const auto rows = metrics_of(folder);
  ASSERT_EQ(rows.size(), 4u);
  EXPECT_EQ(rows[0]["nonfinite"], 0);
  EXPECT_TRUE(rows[1]["loss"].is_null());
  EXPECT_EQ(rows[3]["nonfinite"], 2);
  EXPECT_TRUE(rows[3]["loss"].is_number());
  for (const auto& [name, tensor] : trainer.checkpoint_contents().ema) {
    EXPECT_TRUE(tensor.isfinite().all().item<bool>()) << name;
  }
}

TEST(TrainerTest, TooManyNonFiniteStepsEndTheRunWithAReport) {
  const RunFolder folder;
  RunConfig config = resolved(tiny_config());
  config.train.max_nonfinite_in_a_row = 3;
  config.train.checkpoint_every = 1;
  config.train.keep_checkpoints = 0;
  const auto network = initialized_network(config);
  Trainer trainer(config, network, tiny_images(), folder.path(), poison(network, 2, 100));
  try {
    trainer.run();
    FAIL() << "the run went on";
  } catch (const std::runtime_error& error) {
    const std::string message = error.what();
    for (const char* part : {"expected fewer than 3", "at step 5", "loss nan", "gradient norm nan",
                             "learning rate 0.002"}) {
      EXPECT_NE(message.find(part), std::string::npos) << part << " in: " << message;
    }
  }
  EXPECT_EQ(checkpoint_steps(folder.path()), (std::vector<int64_t>{1, 2, 3, 4}));
}

// A file where the folder belongs stands for a full disk: writing fails, later it does not.
TEST(TrainerTest, ACheckpointThatCannotBeWrittenIsReportedAndTriedAgain) {
  const RunFolder folder;
  RunConfig config = resolved(tiny_config());
  config.train.checkpoint_every = 3;
  std::ofstream(folder / "checkpoints") << "in the way";
  std::vector<std::string> warnings;
  TrainerHooks hooks;
  hooks.on_warning = [&](const std::string& message) {
    warnings.push_back(message);
    fs::remove(folder / "checkpoints");
  };
  Trainer trainer(config, initialized_network(config), tiny_images(), folder.path(), hooks);
  EXPECT_EQ(trainer.run().step, 8);
  ASSERT_EQ(warnings.size(), 1u);
  EXPECT_NE(warnings[0].find("can't save a checkpoint at step 3, training goes on"),
            std::string::npos)
      << warnings[0];
  EXPECT_EQ(checkpoint_steps(folder.path()), (std::vector<int64_t>{6, 8}));
}

TEST(TrainerTest, ALastCheckpointThatCannotBeWrittenIsAnError) {
  const RunFolder folder;
  const RunConfig config = resolved(tiny_config());
  std::ofstream(folder / "checkpoints") << "in the way";
  Trainer trainer(config, initialized_network(config), tiny_images(), folder.path());
  EXPECT_THROW(trainer.run(), std::runtime_error);
}

TEST(TrainerTest, ARunFolderThatAnotherHoldsIsLeftAlone) {
  const RunFolder folder;
  const RunConfig config = resolved(tiny_config());
  std::optional<FileLock> other(run_lock_path(folder.path()));
  Trainer trainer(config, initialized_network(config), tiny_images(), folder.path());
  EXPECT_THROW(trainer.run(), std::invalid_argument);
  EXPECT_FALSE(fs::exists(folder / "recipe.toml"));
  other.reset();
  EXPECT_EQ(trainer.run().step, 8);
  EXPECT_THROW(FileLock(run_lock_path(folder.path())), std::invalid_argument) << "it let go early";
}

TEST(TrainerTest, TakesTheCallersLockAndWarnsWhereThereIsNone) {
  const RunFolder folder;
  const RunConfig config = resolved(tiny_config());
  FileLock unsupported(run_lock_path(folder.path()), [](int, int) {
    errno = ENOLCK;
    return -1;
  });
  std::vector<std::string> warnings;
  TrainerHooks hooks;
  hooks.on_warning = [&](const std::string& message) { warnings.push_back(message); };
  Trainer trainer(config, initialized_network(config), tiny_images(), folder.path(), hooks,
                  std::move(unsupported));
  EXPECT_EQ(trainer.run().step, 8);
  ASSERT_EQ(warnings.size(), 1u);
  EXPECT_NE(warnings[0].find("can't lock files"), std::string::npos) << warnings[0];
}

}  // namespace
}  // namespace ddpm
