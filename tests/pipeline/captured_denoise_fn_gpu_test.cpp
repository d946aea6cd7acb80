#include <ATen/ATen.h>
#include <c10/core/GradMode.h>
#include <gtest/gtest.h>

#include "ddpm/core/device.h"
#include "ddpm/pipeline/captured_denoise_fn.h"
#include "ddpm/pipeline/network_denoise_fn.h"
#include "ddpm/sampling/guidance.h"
#include "ddpm/sampling/sampler.h"
#include "pipeline/small_model.h"

namespace ddpm {
namespace {

using testing::small_model;

class CapturedDenoiseFnGpuTest : public ::testing::TestWithParam<at::ScalarType> {
 protected:
  void SetUp() override {
    if (!at::hasCUDA()) GTEST_SKIP() << "no GPU, or a LibTorch without CUDA";
    configure_gpu();
  }

  /// Of small_model, with random weights of the test's dtype.
  static std::shared_ptr<NetworkImpl> network(const ModelFolder& folder) {
    auto made = make_network(folder.model);
    initialize(*made, /*seed=*/5);
    made->to(at::Device(at::kCUDA, 0), GetParam());
    made->eval();
    return made;
  }

  static NetworkView view(const ModelFolder& folder, bool capture) {
    return {.schedule = make_noise_schedule(folder.diffusion).to(at::kCUDA),
            .prediction = folder.diffusion.prediction,
            .self_conditioning = folder.extras.self_conditioning,
            .capture = capture};
  }
};

Tensor on_gpu(const Tensor& tensor) { return tensor.to(at::kCUDA); }

Tensor mixed_timesteps() { return on_gpu(at::tensor({49, 3, 0, 20, 20}, at::kLong)); }

TEST_P(CapturedDenoiseFnGpuTest, ReplaysHaveTheBitsOfCallsAtMixedTimesteps) {
  const c10::NoGradGuard no_grad;
  const ModelFolder folder = small_model();
  const auto net = network(folder);
  const DenoiseFn plain = network_denoise_fn(net, view(folder, false), GetParam());
  const DenoiseFn captured = network_denoise_fn(net, view(folder, true), GetParam());
  at::manual_seed(1);
  std::vector<Tensor> answers, expected;
  for (int i = 0; i < 6; ++i) {
    const Tensor x = on_gpu(at::randn({5, 1, 8, 8}));
    const Tensor t = mixed_timesteps().roll(i);
    answers.push_back(captured(x, t));
    expected.push_back(plain(x, t));
    // Another shape and dtype of t in between has a graph of its own.
    const Tensor two = x.narrow(0, 0, 2);
    const Tensor fractional = t.narrow(0, 0, 2).to(at::kFloat) + 0.5;
    EXPECT_TRUE(at::equal(captured(two, fractional), plain(two, fractional))) << i;
  }
  for (size_t i = 0; i < answers.size(); ++i) {
    EXPECT_TRUE(at::equal(answers[i], expected[i])) << i;  // later replays left them alone
  }
  EXPECT_FALSE(at::equal(answers[4], answers[5]));
}

TEST_P(CapturedDenoiseFnGpuTest, PreparedTimestepsGiveWhatComputedOnesGive) {
  const c10::NoGradGuard no_grad;
  const ModelFolder folder = small_model();
  const auto net = network(folder);
  at::manual_seed(1);
  const Tensor x = on_gpu(at::randn({5, 1, 8, 8})).to(GetParam());
  const Tensor t = mixed_timesteps();
  const Tensor expected = net->forward(x, t, {}), between = net->forward(x, t + 0.5, {});
  net->prepare_timesteps(folder.diffusion.num_timesteps);
  // cuDNN rounds float32 to TF32: a last bit of a row decides where to.
  const double tolerance = GetParam() == at::kFloat ? 2e-3 : 1e-2;
  const auto error = [](const Tensor& got, const Tensor& wanted) {
    return ((got - wanted).norm() / wanted.norm()).item<double>();
  };
  EXPECT_LT(error(net->forward(x, t, {}), expected), tolerance);
  EXPECT_TRUE(at::equal(net->forward(x, t + 0.5, {}), between));
  for (const Tensor& weight : net->parameters()) weight.mul_(1.25);
  const Tensor changed = net->forward(x, t, {});  // not by the old weights' rows
  net->prepare_timesteps(folder.diffusion.num_timesteps);
  EXPECT_LT(error(net->forward(x, t, {}), changed), tolerance);
  EXPECT_GT(error(changed, expected), 10 * tolerance);
}

TEST_P(CapturedDenoiseFnGpuTest, LabelsMayDifferFromCallToCall) {
  const c10::NoGradGuard no_grad;
  const ModelFolder folder = small_model(/*num_classes=*/4);
  const auto net = network(folder);
  const LabelledDenoiseFn captured = labelled_denoise_fn(net, view(folder, true), GetParam());
  const LabelledDenoiseFn plain = labelled_denoise_fn(net, view(folder, false), GetParam());
  const Tensor x = on_gpu(at::randn({5, 1, 8, 8}));
  Tensor last;
  for (int64_t i = 0; i < 4; ++i) {
    const Tensor labels = on_gpu((at::arange(5) + i).remainder(4));
    const Tensor answer = captured(x, mixed_timesteps(), labels);
    EXPECT_TRUE(at::equal(answer, plain(x, mixed_timesteps(), labels))) << i;
    EXPECT_FALSE(last.defined() && at::equal(answer, last)) << i;
    last = answer;
  }
}

TEST_P(CapturedDenoiseFnGpuTest, SamplesAreTheSameWithClassesGuidanceAndGuesses) {
  ModelFolder folder = small_model(/*num_classes=*/4);
  folder.model.unet2d.in_channels = 2;
  folder.extras.self_conditioning = true;
  folder.extras.null_class = 3;
  const auto net = network(folder);
  const auto draw = [&](bool capture) {
    const NetworkView seen = view(folder, capture);
    const Tensor labels = on_gpu(at::tensor({0, 1, 2}, at::kLong));
    const Tensor both = at::cat({labels, at::full_like(labels, 3)});
    const DenoiseFn guided =
        classifier_free_guidance(seen.schedule, {.scale = 3, .rescale = 0.5, .interval = {}},
                                 network_denoise_fn(net, seen, GetParam(), labels),
                                 network_denoise_fn(net, seen, GetParam(), both));
    return sample(seen.schedule, seen.prediction, guided, {.kind = SamplerKind::kDdpm, .steps = 12},
                  {.seed = 4,
                   .num_images = 3,
                   .image_shape = {1, 8, 8},
                   .device = seen.schedule.betas.device()});
  };
  const Tensor expected = draw(false);
  EXPECT_TRUE(at::isfinite(expected).all().item<bool>());
  EXPECT_TRUE(at::equal(draw(true), expected));
}

TEST_P(CapturedDenoiseFnGpuTest, ReplaysFollowWeightsThatChangeOrMove) {
  const c10::NoGradGuard no_grad;
  const ModelFolder folder = small_model();
  const auto net = network(folder);
  const DenoiseFn plain = network_denoise_fn(net, view(folder, false), GetParam());
  const DenoiseFn captured = network_denoise_fn(net, view(folder, true), GetParam());
  const Tensor x = on_gpu(at::randn({5, 1, 8, 8}));
  const Tensor t = mixed_timesteps();
  for (int i = 0; i < 3; ++i) captured(x, t);
  const Tensor before = plain(x, t);
  for (Tensor& weight : net->parameters()) weight.mul_(0.5);
  EXPECT_FALSE(at::equal(plain(x, t), before));
  EXPECT_TRUE(at::equal(captured(x, t), plain(x, t)));
  std::vector<Tensor> old;
  for (Tensor& weight : net->parameters()) {
    old.push_back(weight.detach());
    weight.set_data(weight.detach() * 2);
  }
  EXPECT_TRUE(at::equal(captured(x, t), before));
  for (int i = 0; i < 3; ++i) EXPECT_TRUE(at::equal(captured(x, t), plain(x, t))) << i;
  for (size_t i = 0; i < old.size(); ++i) net->parameters()[i].set_data(old[i]);
  EXPECT_TRUE(at::equal(captured(x, t), plain(x, t)));
}

TEST_P(CapturedDenoiseFnGpuTest, WhereGradientsAreWantedNothingIsReplayed) {
  const ModelFolder folder = small_model();
  const DenoiseFn captured = network_denoise_fn(network(folder), view(folder, true), GetParam());
  for (int i = 0; i < 3; ++i) {
    Tensor x = on_gpu(at::randn({5, 1, 8, 8})).requires_grad_();
    captured(x, mixed_timesteps()).to(at::kFloat).sum().backward();
    EXPECT_GT(x.grad().abs().max().item<float>(), 0);
  }
}

INSTANTIATE_TEST_SUITE_P(Dtypes, CapturedDenoiseFnGpuTest,
                         ::testing::Values(at::kFloat, at::kBFloat16),
                         [](const auto& test) { return c10::toString(test.param); });

}  // namespace
}  // namespace ddpm
