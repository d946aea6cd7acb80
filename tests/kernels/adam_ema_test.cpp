#include "ddpm/kernels/adam_ema.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <stdexcept>

#include "support/host_reads.h"
#include "support/tensor_matchers.h"

namespace ddpm {
namespace {

using testing::tensors_near;

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
constexpr double kInfinity = std::numeric_limits<double>::infinity();

/// Weights, their optimizer and the steps taken so far.
struct Optimisation {
  explicit Optimisation(const Tensor& weights)
      : master(weights.clone()), state(make_adam_ema_state(master)) {
    state.lr.fill_(0.01);
    state.ema_decay.fill_(0.9);
  }
  Tensor step(const Tensor& grad, double loss = 1.0) {
    return adam_ema_step(options, state, master, grad, at::scalar_tensor(loss), bf16);
  }

  AdamEmaOptions options{.beta1 = 0.9, .beta2 = 0.99};
  Tensor master;
  AdamEmaState state;
  Tensor bf16;
};

Tensor floats(std::initializer_list<double> values) {
  return at::tensor(at::ArrayRef<double>(values), at::kFloat);
}

/// The formulas in double, for whole tensors.
struct Oracle {
  void step(const AdamEmaOptions& options, const Tensor& gradient) {
    ++steps;
    Tensor g = gradient.to(at::kDouble);
    const double norm = g.norm().item<double>();
    if (options.max_grad_norm > 0 && norm > options.max_grad_norm) {
      g = g * (options.max_grad_norm / norm);
    }
    if (!options.decoupled_weight_decay) g = g + options.weight_decay * w;
    m = options.beta1 * m + (1 - options.beta1) * g;
    v = options.beta2 * v + (1 - options.beta2) * g * g;
    const Tensor m_hat = m / (1 - std::pow(options.beta1, steps));
    const Tensor v_hat = v / (1 - std::pow(options.beta2, steps));
    if (options.decoupled_weight_decay) w = w - lr * options.weight_decay * w;
    w = w - lr * m_hat / (v_hat.sqrt() + options.eps);
    ema = decay * ema + (1 - decay) * w;
  }

  Tensor w, m, v, ema;
  double lr = 0.01;
  double decay = 0.9;
  int64_t steps = 0;
};

// Reference: torch.optim.Adam and AdamW 2.13 in float64, lr 0.01, betas (0.9, 0.99), after
// clip_grad_norm_ to 2; the three gradients' norms are 2.29, 3.01 and 1.59.
TEST(AdamEmaTest, ThreeStepsEqualPyTorchs) {
  struct Case {
    bool decoupled;
    double weight_decay;
    Tensor expected;
  };
  for (const Case& c :
       {Case{false, 0.0, floats({0.982013085882, -1.998668607379, 0.48352304328})},
        Case{false, 0.1, floats({0.977710814273, -1.996116953823, 0.482953101545})},
        Case{true, 0.1, floats({0.979039695156, -1.99269047171, 0.482051248581})}}) {
    Optimisation run(floats({1.0, -2.0, 0.5}));
    run.options.max_grad_norm = 2.0;
    run.options.decoupled_weight_decay = c.decoupled;
    run.options.weight_decay = c.weight_decay;
    run.step(floats({0.5, -1.0, 2.0}));
    run.step(floats({-0.25, 3.0, 0.0}));
    const Tensor norm = run.step(floats({0.125, 0.5, -1.5}));
    EXPECT_TRUE(tensors_near(run.master, c.expected, 3e-7)) << c.decoupled << c.weight_decay;
    EXPECT_NEAR(norm.item<double>(), 1.58607219255619, 1e-6);
    EXPECT_EQ(run.state.step.item<int64_t>(), 3);
  }
}

// More weights than one piece holds, so that the seams are seen too.
TEST(AdamEmaTest, ManyStepsOverManyWeightsEqualTheFormulas) {
  at::manual_seed(0);
  const int64_t n = 300'001;
  Optimisation run(at::randn({n}));
  run.options = {.decoupled_weight_decay = true, .weight_decay = 0.05, .max_grad_norm = 100.0};
  Oracle oracle{.w = run.master.to(at::kDouble),
                .m = at::zeros({n}, at::kDouble),
                .v = at::zeros({n}, at::kDouble),
                .ema = run.master.to(at::kDouble)};
  for (int64_t i = 0; i < 6; ++i) {
    const Tensor grad = at::randn({n}) * (i % 2 == 0 ? 1.0 : 0.01);
    oracle.step(run.options, grad);
    run.step(grad);
  }
  // Weights reach 4.5, where float32 is known to 2.4e-7; each of six steps rounds twice.
  EXPECT_TRUE(tensors_near(run.master.to(at::kDouble), oracle.w, 2.9e-6));
  EXPECT_TRUE(tensors_near(run.state.m.to(at::kDouble), oracle.m, 1e-7));
  EXPECT_TRUE(tensors_near(run.state.v.to(at::kDouble), oracle.v, 1e-7));
  EXPECT_TRUE(tensors_near(run.state.ema.to(at::kDouble), oracle.ema, 2.9e-6));
}

TEST(AdamEmaTest, EmaMovesTowardsTheWeightsOfThisStep) {
  Optimisation run(floats({1.0, 2.0}));
  const Tensor start = run.master.clone();
  run.state.ema_decay.fill_(0.75);
  run.step(floats({1.0, -1.0}));
  EXPECT_TRUE(tensors_near(run.state.ema, 0.75 * start + 0.25 * run.master, 1e-7));
  EXPECT_FALSE(at::equal(run.state.ema, start));
}

TEST(AdamEmaTest, NonFiniteStepsLeaveEverythingBitForBit) {
  for (const auto& [gradient, loss] :
       {std::pair{kNan, 1.0}, {kInfinity, 1.0}, {1.0, kNan}, {1.0, -kInfinity}}) {
    Optimisation run(floats({1.0, -0.0, 0.5}));
    run.bf16 = at::zeros({3}, at::kBFloat16);
    run.step(floats({0.5, -1.0, 2.0}));
    const Tensor master = run.master.clone();
    const Tensor m = run.state.m.clone();
    const Tensor v = run.state.v.clone();
    const Tensor ema = run.state.ema.clone();
    const Tensor bf16 = run.bf16.clone();
    run.step(floats({1.0, gradient, 1.0}), loss);
    run.step(floats({1.0, gradient, 1.0}), loss);
    EXPECT_TRUE(at::equal(run.master, master));
    EXPECT_TRUE(at::equal(run.state.m, m));
    EXPECT_TRUE(at::equal(run.state.v, v));
    EXPECT_TRUE(at::equal(run.state.ema, ema));
    EXPECT_TRUE(at::equal(run.bf16, bf16));
    EXPECT_EQ(run.state.step.item<int64_t>(), 1);
    EXPECT_EQ(run.state.nonfinite_total.item<int64_t>(), 2);
    EXPECT_EQ(run.state.nonfinite_in_a_row.item<int64_t>(), 2);
  }
}

TEST(AdamEmaTest, ARunGoesOnAfterASkippedStepAsIfItHadNotBeen) {
  Optimisation whole(floats({1.0, -2.0}));
  Optimisation broken(floats({1.0, -2.0}));
  broken.step(floats({kNan, 1.0}));  // the very first step, where the bias correction divides by 0
  for (const double g : {0.5, -0.25}) {
    whole.step(floats({g, 1.0}));
    broken.step(floats({g, 1.0}));
    broken.step(floats({g, 1.0}), kNan);
  }
  EXPECT_TRUE(at::equal(whole.master, broken.master));
  EXPECT_TRUE(at::equal(whole.state.ema, broken.state.ema));
  EXPECT_EQ(broken.state.nonfinite_total.item<int64_t>(), 3);
  EXPECT_EQ(broken.state.nonfinite_in_a_row.item<int64_t>(), 1);
  broken.step(floats({0.1, 0.1}));
  EXPECT_EQ(broken.state.nonfinite_in_a_row.item<int64_t>(), 0);
}

TEST(AdamEmaTest, TakesBf16GradientsAndRoundsTheMasterOnce) {
  at::manual_seed(1);
  const Tensor weights = at::randn({1000});
  const Tensor grad = at::randn({1000}).to(at::kBFloat16);
  Optimisation from_bf16(weights);
  from_bf16.bf16 = at::zeros({1000}, at::kBFloat16);
  Optimisation from_float(weights);
  from_bf16.step(grad);
  from_float.step(grad.to(at::kFloat));
  EXPECT_TRUE(at::equal(from_bf16.master, from_float.master));
  EXPECT_TRUE(at::equal(from_bf16.bf16, from_float.master.to(at::kBFloat16)));
}

// A float32 sum of squares over this many equal values would be off by more.
TEST(AdamEmaTest, NormOfManyGradientsKeepsFloat32sDigits) {
  Optimisation run(at::zeros({4'000'000}));
  const Tensor norm = run.step(at::full({4'000'000}, 0.1));
  EXPECT_NEAR(norm.item<double>(), 200.0, 2e-5);
}

TEST(AdamEmaTest, AStepReadsNothingBackToTheHostAndKeepsItsStorage) {
  Optimisation run(floats({1.0, -2.0}));
  run.bf16 = at::zeros({2}, at::kBFloat16);
  run.options.max_grad_norm = 1.0;
  const Tensor grad = floats({1.0, 2.0});
  const Tensor loss = at::ones({});
  const void* const ema = run.state.ema.data_ptr();
  EXPECT_EQ(testing::host_reads(
                [&] { adam_ema_step(run.options, run.state, run.master, grad, loss, run.bf16); }),
            std::vector<std::string>());
  EXPECT_EQ(run.state.ema.data_ptr(), ema);
}

TEST(AdamEmaTest, RefusesWrongShapesAndTypes) {
  Optimisation run(floats({1.0, -2.0}));
  EXPECT_THROW(run.step(floats({1.0})), std::invalid_argument);
  EXPECT_THROW(run.step(at::ones({2}, at::kHalf)), std::invalid_argument);
  run.bf16 = at::zeros({2}, at::kFloat);
  EXPECT_THROW(run.step(floats({1.0, 1.0})), std::invalid_argument);
  EXPECT_THROW(make_adam_ema_state(at::ones({2}, at::kDouble)), std::invalid_argument);
}

}  // namespace
}  // namespace ddpm
