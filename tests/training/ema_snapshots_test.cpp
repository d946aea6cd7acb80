#include "ddpm/training/ema_snapshots.h"

#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <fstream>
#include <map>
#include <stdexcept>

#include "ddpm/training/trainer.h"
#include "support/tensor_matchers.h"
#include "training/training_fixtures.h"

namespace ddpm {
namespace {

using ::testing::HasSubstr;
using testing::initialized_network;
using testing::resolved;
using testing::RunFolder;
using testing::tensors_near;
using ::testing::ThrowsMessage;
using testing::tiny_config;
using testing::tiny_images;

// A run keeps the averages that its weights' path has, and they give a third one.
TEST(EmaSnapshotsTest, ARunKeepsItsAveragesAndTheyGiveOthers) {
  const RunFolder folder;
  RunConfig config = resolved(tiny_config());
  config.train.steps = 16;
  config.ema.power_stds = {0.1, 0.25};
  config.ema.snapshot_every = 4;
  const auto network = initialized_network(config);
  std::vector<Tensor> path;
  TrainerHooks hooks;
  hooks.on_step = [&](int64_t) {
    path.push_back(network->named_parameters()["conv_in.weight"].detach().clone());
  };
  Trainer(config, network, tiny_images(), folder.path(), hooks).run();

  const std::vector<EmaSnapshot> snapshots = list_ema_snapshots(folder.path());
  ASSERT_EQ(snapshots.size(), 8u);
  EXPECT_EQ(snapshots[2].step, 8);
  EXPECT_EQ(snapshots[3].std, 0.25);
  EXPECT_EQ(snapshots[3].path.filename(), "step-00000008-std-0.25.safetensors");

  const auto exact = [&](double gamma) {  // each step's share is left by the later steps' decays
    Tensor average = at::zeros_like(path[0]);
    for (size_t s = 0; s < path.size(); ++s) {
      average.lerp_(path[s], 1 - std::pow(1 - 1 / static_cast<double>(s + 1), gamma + 1));
    }
    return average;
  };
  const auto reconstructed = [&](double std) {
    const NamedTensors tensors = reconstruct_ema(folder.path(), std, 16);
    const std::map<std::string, Tensor> by_name(tensors.begin(), tensors.end());
    return by_name.at("conv_in.weight");
  };
  const double scale = (path.back() - path.front()).abs().max().item<double>();
  EXPECT_TRUE(tensors_near(reconstructed(0.1), exact(6.93720), 1e-6));
  EXPECT_TRUE(tensors_near(reconstructed(0.15), exact(3.55787), 0.01 * scale));
}

TEST(EmaSnapshotsTest, SaysWhatIsMissingOrStrange) {
  const RunFolder folder;
  EXPECT_TRUE(list_ema_snapshots(folder.path()).empty());
  EXPECT_THAT([&] { reconstruct_ema(folder.path(), 0.1, 8); },
              ThrowsMessage<std::invalid_argument>(HasSubstr("expected a run with snapshots")));
  write_ema_snapshot(folder.path(), 4, 0.1, {{"w", at::ones({2})}});
  write_ema_snapshot(folder.path(), 4, 0.2, {{"w", at::ones({3})}});
  EXPECT_THAT([&] { reconstruct_ema(folder.path(), 0.1, 8); },
              ThrowsMessage<std::invalid_argument>(HasSubstr("expected 'w' [2], got 'w' [3]")));
  std::ofstream(folder / "ema/mine.safetensors") << "x";
  EXPECT_THAT([&] { list_ema_snapshots(folder.path()); },
              ThrowsMessage<std::invalid_argument>(HasSubstr("mine.safetensors")));
}

}  // namespace
}  // namespace ddpm
