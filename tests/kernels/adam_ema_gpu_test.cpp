#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <limits>

#include "ddpm/kernels/adam_ema.h"
#include "support/tensor_matchers.h"

namespace ddpm {
namespace {

using testing::tensors_near;

/// The same weights and optimizer on the CPU, whose body other tests compare with PyTorch, and on
/// the GPU.
struct TwoRuns {
  TwoRuns(int64_t size, bool decoupled, at::ScalarType grad_dtype) : dtype(grad_dtype) {
    options = {.decoupled_weight_decay = decoupled, .weight_decay = 0.05, .max_grad_norm = 100.0};
    at::manual_seed(0);
    master[0] = at::randn({size});
    master[1] = master[0].to(at::kCUDA);
    for (int i = 0; i < 2; ++i) {
      state[i] = make_adam_ema_state(master[i]);
      state[i].lr.fill_(0.01);
      state[i].ema_decay.fill_(0.9);
      weights[i] = master[i].to(at::kBFloat16);
    }
  }
  void step(const Tensor& grad, double loss) {
    for (int i = 0; i < 2; ++i) {
      const auto device = master[i].device();
      norm[i] = adam_ema_step(options, state[i], master[i], grad.to(device, dtype),
                              at::full({}, loss, at::device(device).dtype(at::kFloat)), weights[i]);
    }
  }

  at::ScalarType dtype;
  AdamEmaOptions options;
  Tensor master[2], weights[2], norm[2];
  AdamEmaState state[2];
};

TEST(AdamEmaGpuTest, StepsEqualThoseOfTheCpu) {
  if (!at::hasCUDA()) GTEST_SKIP() << "no GPU, or a LibTorch without CUDA";
  for (const bool decoupled : {false, true}) {
    for (const auto dtype : {at::kFloat, at::kBFloat16}) {
      TwoRuns runs(300'003, decoupled, dtype);
      for (int64_t i = 0; i < 6; ++i) {
        const Tensor grad = at::randn({300'003}) * (i % 2 == 0 ? 1.0 : 0.01);
        runs.step(grad, i == 3 ? std::numeric_limits<double>::quiet_NaN() : 1.0);
        EXPECT_NEAR(runs.norm[1].item<double>() / runs.norm[0].item<double>(), 1, 1e-6);
      }
      EXPECT_TRUE(tensors_near(runs.master[1].cpu(), runs.master[0], 3e-6));
      EXPECT_TRUE(tensors_near(runs.state[1].m.cpu(), runs.state[0].m, 1e-7));
      EXPECT_TRUE(tensors_near(runs.state[1].v.cpu(), runs.state[0].v, 1e-7));
      EXPECT_TRUE(tensors_near(runs.state[1].ema.cpu(), runs.state[0].ema, 3e-6));
      EXPECT_TRUE(at::equal(runs.weights[1], runs.master[1].to(at::kBFloat16)));
      EXPECT_EQ(runs.state[1].step.item<int64_t>(), 5);
      EXPECT_EQ(runs.state[1].nonfinite_total.item<int64_t>(), 1);
      EXPECT_EQ(runs.state[1].nonfinite_in_a_row.item<int64_t>(), 0);
    }
  }
}

TEST(AdamEmaGpuTest, NonFiniteStepsLeaveEverythingBitForBit) {
  if (!at::hasCUDA()) GTEST_SKIP() << "no GPU, or a LibTorch without CUDA";
  TwoRuns runs(1001, true, at::kFloat);
  runs.step(at::randn({1001}), 1.0);
  const Tensor before[] = {runs.master[1].clone(), runs.state[1].m.clone(), runs.state[1].v.clone(),
                           runs.state[1].ema.clone()};
  Tensor grad = at::randn({1001});
  grad[500] = std::numeric_limits<double>::infinity();
  runs.step(grad, 1.0);
  EXPECT_TRUE(at::equal(runs.master[1], before[0]));
  EXPECT_TRUE(at::equal(runs.state[1].m, before[1]));
  EXPECT_TRUE(at::equal(runs.state[1].v, before[2]));
  EXPECT_TRUE(at::equal(runs.state[1].ema, before[3]));
}

}  // namespace
}  // namespace ddpm
