#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "ddpm/checkpoint/model_folder.h"
#include "ddpm/diffusion/forward_process.h"
#include "ddpm/loss/cross_entropy.h"
#include "ddpm/model/state_dict.h"
#include "ddpm/training/trainer.h"
#include "training/training_fixtures.h"

namespace ddpm {
namespace {

using testing::initialized_network;
using testing::RunFolder;

RunConfig shapes_classifier() {
  RunConfig config = testing::tiny_config();
  config.data.image_size = 16;
  config.model.kind = ModelKind::kClassifier;
  config.model.classifier.block_out_channels = {16, 32, 32};
  config.model.classifier.layers_per_block = 1;
  config.model.classifier.attention_head_dim = 16;
  config.model.classifier.norm_num_groups = 8;
  config.loss.kind = LossKind::kCrossEntropy;
  config.optimizer.lr = 1e-3;
  config.diffusion.schedule = ScheduleKind::kCosine;
  config.train.timestep_sampling = TimestepSampling::kLogNormal;
  config.train.log_sigma_mean = -3;  // little noise: a lesson of seconds
  config.train.log_sigma_std = 1;
  config.ema.decay = 0.98;
  config.train.batch_size = 32;
  return testing::resolved(config);
}

/// The share of images, noised to `t`, that the network is right about.
double accuracy_of(NetworkImpl& network, const RunConfig& config, const ImageSet& set, int64_t t) {
  const at::NoGradGuard no_grad;
  network.eval();
  const NoiseSchedule schedule = make_noise_schedule(config.diffusion);
  const Tensor x_start = set.images.to(at::kFloat) / 127.5 - 1;
  const Tensor times = at::full({x_start.size(0)}, t, at::kLong);
  const Tensor x_t = q_sample(schedule, x_start, times, at::randn_like(x_start));
  const Tensor correct = is_top_class(network.forward(x_t, times, {}), set.labels);
  return correct.to(at::kDouble).mean().item<double>();
}

TEST(ClassifierTrainingTest, HeldOutShapesAreToldApartWhereThereIsLittleNoise) {
  const RunFolder folder;
  RunConfig config = shapes_classifier();
  config.train.steps = 200;
  config.train.log_every = 50;
  config.train.preview_every = 50;  // a classifier draws none
  const ImageSet set = make_shapes(2048, 16, 1, /*seed=*/0);
  Trainer trainer(config, initialized_network(config), set, folder.path());
  trainer.run();

  const ModelFolder model = read_model_folder(folder / "model");
  EXPECT_EQ(model.model.kind, ModelKind::kClassifier);
  EXPECT_EQ(model.extras.class_names, set.class_names);
  const auto network = make_network(model.model);
  load_state_dict(*network, model.weights, "model");
  at::manual_seed(0);
  const ImageSet held_out = make_shapes(512, 16, 1, /*seed=*/1);
  EXPECT_GT(accuracy_of(*network, config, held_out, 0), 0.5) << "chance is 1 in 8";
  EXPECT_LT(accuracy_of(*network, config, held_out, config.diffusion.num_timesteps - 1), 0.25)
      << "nothing is left of the image";

  const auto lines = testing::lines_of(folder / "metrics.jsonl");
  ASSERT_EQ(lines.size(), 4u);
  const auto first = nlohmann::json::parse(lines.front());
  const auto last = nlohmann::json::parse(lines.back());
  EXPECT_GT(last["accuracy"].get<double>(), first["accuracy"].get<double>() + 0.1);
  EXPECT_LT(last["loss_q1"].get<double>(), last["loss_q2"].get<double>()) << "noise hides classes";
  EXPECT_TRUE(std::filesystem::is_empty(folder / "samples"));
}

}  // namespace
}  // namespace ddpm
