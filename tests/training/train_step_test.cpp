#include "ddpm/training/train_step.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>

#include "ddpm/core/philox.h"
#include "support/host_reads.h"
#include "support/tensor_matchers.h"
#include "training/training_fixtures.h"

namespace ddpm {
namespace {

using testing::BatchNormNetwork;
using testing::expect_same_bits;
using testing::initialized_network;
using testing::RecordingNetwork;
using testing::resolved;
using testing::tensors_near;
using testing::tiny_config;
using testing::tiny_images;

Batch first_images(int64_t count) {
  const ImageSet set = tiny_images();
  Batch batch;
  batch.images = set.images.narrow(0, 0, count).clone();
  batch.labels = set.labels.narrow(0, 0, count).clone();
  batch.flip = at::arange(count).remainder(3) == 0;
  return batch;
}

std::map<std::string, Tensor> by_name(const NamedTensors& tensors) {
  return {tensors.begin(), tensors.end()};
}

// [DDPM Alg. 1] and the first step of Adam, written out: m / (1 - beta1) = g and
// sqrt(v / (1 - beta2)) = |g|, so a weight moves by lr * g / (|g| + eps), with g clipped.
TEST(TrainStepTest, AStepIsTheAlgorithmWrittenOut) {
  RunConfig config = resolved(tiny_config());
  config.optimizer.eps = 0.1;
  config.optimizer.max_grad_norm = 0.01;
  const int64_t step = 5;
  const Batch batch = first_images(config.train.batch_size);

  const auto network = initialized_network(config);
  const Tensor alpha_bar = (1 - at::linspace(1e-4, 0.2, 100, at::kDouble)).cumprod(0);
  const Tensor x_start =
      at::where(batch.flip.view({-1, 1, 1, 1}), batch.images.flip({3}), batch.images)
              .to(at::kDouble) /
          127.5 -
      1;
  std::vector<Tensor> x_t, noise, t;
  for (int64_t i = 0; i < config.train.batch_size; ++i) {
    const auto sample = static_cast<uint64_t>(step * config.train.batch_size + i);
    t.push_back(
        at::scalar_tensor(random_below({3, RandomStream::kTimestep}, sample, 0, 100), at::kLong));
    noise.push_back(at::empty({1, 8, 8}));
    fill_normal({3, RandomStream::kTrainNoise}, sample, 0, noise.back().data_ptr<float>(), 64);
    const Tensor a = alpha_bar[t.back().item<int64_t>()];
    x_t.push_back((a.sqrt() * x_start[i] + (1 - a).sqrt() * noise.back()).to(at::kFloat));
  }
  const Tensor output = network->forward(at::stack(x_t), at::stack(t), {});
  const Tensor loss = (output - at::stack(noise)).square().mean();
  loss.backward();
  Tensor square_sum = at::zeros({}, at::kDouble);
  for (const Tensor& p : network->parameters())
    square_sum += p.grad().to(at::kDouble).square().sum();
  const double clip = 0.01 / square_sum.sqrt().item<double>();
  ASSERT_LT(clip, 1);

  TrainStep train_step(config, initialized_network(config), at::kCPU);
  train_step.prepare(batch, step);
  train_step.run();
  const auto weights = by_name(train_step.weights_state());
  for (const auto& item : network->named_parameters()) {
    const Tensor g = clip * item->grad();
    const Tensor expected = item->detach() - config.optimizer.lr * g / (g.abs() + 0.1);
    // float32 sums in another order; steps are at most 1e-4.
    EXPECT_TRUE(tensors_near(weights.at(item.key()), expected, 2e-7)) << item.key();
  }
  EXPECT_NEAR(read_means(train_step.statistics()).loss, loss.item<double>(), 1e-6);
}

// A large eps makes Adam's step proportional to the gradient, so equal gradients are seen.
TEST(TrainStepTest, AccumulationEqualsTheWholeBatch) {
  RunConfig config = resolved(tiny_config());
  config.optimizer.eps = 1;
  config.loss.weighting = LossWeighting::kMinSnr;
  config.diffusion.prediction = PredictionType::kVelocity;
  const auto weights_after = [&](int64_t accumulation) {
    config.train.accumulation = accumulation;
    TrainStep train_step(config, initialized_network(config), at::kCPU);
    for (int64_t step = 0; step < 2; ++step) {
      train_step.prepare(first_images(config.train.batch_size), step);
      train_step.run();
    }
    const StepMeans means = read_means(train_step.statistics());
    NamedTensors result = train_step.weights_state();
    result.emplace_back("means", at::tensor({means.loss, means.grad_norm, means.quarter_loss[0]}));
    return result;
  };
  const NamedTensors whole = weights_after(1);
  const NamedTensors parts = weights_after(4);
  for (size_t i = 0; i < whole.size(); ++i) {
    EXPECT_TRUE(tensors_near(parts[i].second, whole[i].second, 1e-6)) << whole[i].first;
  }
}

TEST(TrainStepTest, AccumulationMustDivideTheBatch) {
  RunConfig config = resolved(tiny_config());
  config.train.accumulation = 3;
  EXPECT_THROW(TrainStep(config, initialized_network(config), at::kCPU), std::invalid_argument);
}

TEST(TrainStepTest, NonFiniteStepsLeaveWeightsStatisticsAndEmaAsTheyWere) {
  const RunConfig config = tiny_config();
  const auto network = std::make_shared<BatchNormNetwork>();
  TrainStep train_step(config, network, at::kCPU);
  const auto run = [&](int64_t step) {
    train_step.prepare(first_images(config.train.batch_size), step);
    train_step.run();
  };
  run(0);
  const NamedTensors weights = train_step.weights_state();
  const NamedTensors ema = train_step.ema_state();

  Tensor bias = network->named_parameters()["first.bias"].detach();
  const Tensor good = bias.clone();
  bias.fill_(std::numeric_limits<float>::quiet_NaN());
  run(1);
  bias.copy_(good);
  EXPECT_EQ(train_step.optimizer().nonfinite_total.item<int64_t>(), 1);
  const auto without_counter = [](NamedTensors tensors) {
    std::erase_if(tensors, [](const auto& item) { return !item.second.is_floating_point(); });
    return tensors;
  };
  expect_same_bits(without_counter(train_step.weights_state()), without_counter(weights));
  expect_same_bits(without_counter(train_step.ema_state()), without_counter(ema));

  run(2);
  EXPECT_EQ(train_step.optimizer().step.item<int64_t>(), 2);
  EXPECT_EQ(train_step.optimizer().nonfinite_in_a_row.item<int64_t>(), 0);
}

TEST(TrainStepTest, RunningStatisticsFollowTheEma) {
  RunConfig config = tiny_config();
  config.ema = {.kind = EmaKind::kFixed, .decay = 0.75};
  TrainStep train_step(config, std::make_shared<BatchNormNetwork>(), at::kCPU);
  train_step.prepare(first_images(config.train.batch_size), 0);
  train_step.run();
  const Tensor mean = by_name(train_step.weights_state()).at("norm.running_mean");
  ASSERT_GT(mean.abs().max().item<float>(), 0);
  EXPECT_TRUE(tensors_near(by_name(train_step.ema_state()).at("norm.running_mean"), 0.25 * mean,
                           1e-7));  // from 0, a quarter of the way
}

TEST(TrainStepTest, Bfloat16KeepsFloat32Masters) {
  RunConfig config = resolved(tiny_config());
  config.optimizer.lr = 1e-6;  // far below what bfloat16 can add to a weight
  config.train.precision = Precision::kBf16;
  const auto network = initialized_network(config);
  TrainStep train_step(config, network, at::kCPU);
  const auto before = by_name(train_step.weights_state());
  train_step.prepare(first_images(config.train.batch_size), 0);
  train_step.run();
  const auto after = by_name(train_step.weights_state());
  const Tensor moved = (after.at("conv_in.weight") - before.at("conv_in.weight")).abs();
  EXPECT_NEAR(moved.max().item<double>(), 1e-6, 1e-7);  // Adam's first step is lr
  EXPECT_EQ(network->named_parameters()["conv_in.weight"].scalar_type(), at::kBFloat16);
  EXPECT_TRUE(at::equal(network->named_parameters()["conv_in.weight"].detach(),
                        after.at("conv_in.weight").to(at::kBFloat16)));
}

TEST(TrainStepTest, AStepDependsOnItsNumberAndTheStateAlone) {
  const RunConfig config = tiny_config();  // the network has dropout
  TrainStep train_step(config, std::make_shared<BatchNormNetwork>(), at::kCPU);
  const auto run = [&](int64_t step) {
    train_step.prepare(first_images(config.train.batch_size), step);
    train_step.run();
    return train_step.weights_state();
  };
  run(0);
  const NamedTensors weights = train_step.weights_state();
  const NamedTensors ema = train_step.ema_state();
  const NamedTensors optimizer = train_step.optimizer_state();
  const NamedTensors first = run(1);
  at::manual_seed(99);
  train_step.load(weights, ema, optimizer);
  expect_same_bits(run(1), first);
  train_step.load(weights, ema, optimizer);
  EXPECT_FALSE(at::equal(by_name(run(2)).at("first.weight"), by_name(first).at("first.weight")));
}

// L_t^2 over the history: a step writes each image's objective, and later draws follow it.
TEST(TrainStepTest, LossAwareTimestepsFollowTheHistory) {
  RunConfig config = resolved(tiny_config());
  config.diffusion.num_timesteps = 4;
  config.train.timestep_sampling = TimestepSampling::kLossAware;
  TrainStep train_step(config, initialized_network(config), at::kCPU);
  for (int64_t step = 0; step < 10; ++step) {
    train_step.prepare(first_images(config.train.batch_size), step);
    EXPECT_THAT(testing::host_reads([&] { train_step.run(); }), ::testing::IsEmpty());
  }
  const auto state = by_name(train_step.optimizer_state());
  EXPECT_EQ(state.at("loss_history.counts").sum().item<int64_t>(), 80);
  EXPECT_TRUE((state.at("loss_history.losses") > 0).all().item<bool>());
}

TEST(TrainStepTest, ANonFiniteStepLeavesTheLossHistoryAsItWas) {
  RunConfig config = tiny_config();
  config.train.timestep_sampling = TimestepSampling::kLossAware;
  const auto network = std::make_shared<BatchNormNetwork>();
  TrainStep train_step(config, network, at::kCPU);
  Tensor bias = network->named_parameters()["first.bias"].detach();
  bias.fill_(std::numeric_limits<float>::quiet_NaN());
  train_step.prepare(first_images(config.train.batch_size), 0);
  train_step.run();
  const auto state = by_name(train_step.optimizer_state());
  EXPECT_EQ(state.at("loss_history.counts").sum().item<int64_t>(), 0);
  EXPECT_EQ(state.at("loss_history.losses").abs().max().item<float>(), 0);
}

// The bound is read in float32: bfloat16's x_t would be wrong by a hundred deviations at t = 0.
TEST(TrainStepTest, TheBoundIsThatOfFloat32WhereTheNetworkComputesInBfloat16) {
  RunConfig config = tiny_config();
  config.diffusion.variance = VarianceType::kLearnedRange;
  config.loss.kind = LossKind::kVlb;
  config = resolved(config);
  const auto bits = [&](Precision precision) {
    config.train.precision = precision;
    TrainStep train_step(config, initialized_network(config), at::kCPU);
    train_step.prepare(first_images(config.train.batch_size), 0);
    train_step.run();
    return read_means(train_step.statistics()).loss;
  };
  const double expected = bits(Precision::kFp32);
  EXPECT_NEAR(bits(Precision::kBf16) / expected, 1, 0.03);  // the network's own rounding
}

// [Chen et al. 2023]: half of the images see the network's own clipped guess, without a gradient.
TEST(TrainStepTest, HalfOfTheImagesSeeTheNetworksOwnGuess) {
  RunConfig config = tiny_config();
  config.diffusion.prediction = PredictionType::kSample;  // the output is the guess
  config.train.self_conditioning = true;
  config.train.accumulation = 2;
  const auto network = std::make_shared<RecordingNetwork>(/*in_channels=*/2);
  TrainStep train_step(config, network, at::kCPU);
  train_step.prepare(first_images(config.train.batch_size), 2);
  train_step.run();
  ASSERT_EQ(network->seen.size(), 4u);  // two passes for each of two micro-batches
  const auto& [first, second] = std::pair(network->seen[0], network->seen[1]);
  ASSERT_EQ(first.sizes(), (std::vector<int64_t>{2, 2, 8, 8}));
  ASSERT_EQ(second.sizes(), (std::vector<int64_t>{4, 2, 8, 8}));
  EXPECT_TRUE(at::equal(first.select(1, 0), second.slice(0, 0, 2).select(1, 0)));
  EXPECT_EQ(first.select(1, 1).abs().max().item<float>(), 0);
  EXPECT_TRUE(
      at::equal(second.slice(0, 0, 2).select(1, 1), network->answers[0].select(1, 0).clamp(-1, 1)));
  EXPECT_EQ(second.slice(0, 2).select(1, 1).abs().max().item<float>(), 0);
}

TEST(TrainStepTest, AnEdmNetworkSeesScaledInputsAndLogSigma) {
  RunConfig config = tiny_config();
  config.diffusion.sigma_data = 0.25;
  const auto first_call = [&](PredictionType prediction) {
    config.diffusion.prediction = prediction;
    const auto network = std::make_shared<RecordingNetwork>();
    TrainStep train_step(config, network, at::kCPU);
    train_step.prepare(first_images(config.train.batch_size), 2);
    train_step.run();
    return std::pair(network->seen.front(), network->times.front());
  };
  const auto [x_t, t] = first_call(PredictionType::kEpsilon);
  const auto [x, c_noise] = first_call(PredictionType::kEdm);
  const Tensor a = (1 - at::linspace(1e-4, 0.2, 100, at::kDouble)).cumprod(0).index_select(0, t);
  const Tensor n = 1 - a + a / 16;
  EXPECT_TRUE(tensors_near(x, x_t / n.sqrt().view({-1, 1, 1, 1}), 1e-5));
  EXPECT_TRUE(tensors_near(c_noise, ((1 - a) / a).sqrt().log() / 4, 1e-6));
}

// [Ning et al. 2023]: the input has gamma's noise on its noise; the target has not.
TEST(TrainStepTest, InputPerturbationChangesTheInputAndNotTheTarget) {
  RunConfig config = tiny_config();
  config.diffusion.beta_start = config.diffusion.beta_end = 0.01;
  const auto input = [&](double perturbation, double offset) {
    config.train.input_perturbation = perturbation;
    config.train.offset_noise = offset;
    const auto network = std::make_shared<RecordingNetwork>();
    TrainStep train_step(config, network, at::kCPU);
    train_step.prepare(first_images(config.train.batch_size), 2);
    train_step.run();
    return network->seen.front();
  };
  const Tensor plain = input(0, 0);
  const Tensor t = draw_timesteps(config, 2).to(at::kDouble);
  const Tensor scale = (1 - at::pow(0.99, t + 1)).sqrt().view({-1, 1, 1, 1});
  for (int64_t i = 0; i < config.train.batch_size; ++i) {
    const auto sample = static_cast<uint64_t>(2 * config.train.batch_size + i);
    Tensor z = at::empty({1, 8, 8});
    fill_normal({3, RandomStream::kInputNoise}, sample, 0, z.data_ptr<float>(), 64);
    EXPECT_TRUE(tensors_near((input(0.1, 0) - plain)[i], 0.1 * scale[i] * z, 1e-6));
    const Tensor offset = (input(0, 0.5) - plain)[i] / scale[i];
    float shared = 0;
    fill_normal({3, RandomStream::kOffsetNoise}, sample, 0, &shared, 1);
    EXPECT_TRUE(
        tensors_near(offset, at::full_like(offset, 0.5 * static_cast<double>(shared)), 1e-5));
  }
}

TEST(TrainStepTest, LoadNamesTheTensorThatIsMissing) {
  const RunConfig config = tiny_config();
  TrainStep train_step(config, std::make_shared<BatchNormNetwork>(), at::kCPU);
  NamedTensors optimizer = train_step.optimizer_state();
  std::erase_if(optimizer, [](const auto& item) { return item.first == "statistics.loss_sum"; });
  try {
    train_step.load(train_step.weights_state(), train_step.ema_state(), optimizer);
    FAIL() << "a sum was not missed";
  } catch (const std::invalid_argument& error) {
    EXPECT_NE(std::string(error.what()).find("'statistics.loss_sum'"), std::string::npos);
  }
}

}  // namespace
}  // namespace ddpm
