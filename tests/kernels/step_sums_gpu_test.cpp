#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "ddpm/kernels/step_sums.h"

namespace ddpm {
namespace {

/// The sums of a CPU and of a GPU, which see the same.
struct BothSums {
  explicit BothSums(bool classifies)
      : cpu(make_step_losses(at::kCPU, classifies)),
        gpu(make_step_losses(at::kCUDA, classifies)),
        cpu_statistics(make_step_statistics(at::kCPU, classifies)),
        gpu_statistics(make_step_statistics(at::kCUDA, classifies)) {}

  void add(const MicroBatchLosses& losses, const WholeBatch& batch, bool is_first) {
    const auto sent = [](const Tensor& x) { return x.defined() ? x.to(at::kCUDA) : x; };
    add_losses(cpu, losses, batch, is_first);
    add_losses(gpu,
               {.objective = sent(losses.objective),
                .plain = sent(losses.plain),
                .t = sent(losses.t),
                .correct = sent(losses.correct)},
               batch, is_first);
  }

  void end(int64_t step, float grad_norm, int64_t nonfinite_in_a_row) {
    const Tensor number = at::scalar_tensor(step, at::kLong);
    const Tensor norm = at::scalar_tensor(grad_norm, at::kFloat);
    const Tensor row = at::scalar_tensor(nonfinite_in_a_row, at::kLong);
    add_step(cpu_statistics, cpu, number, norm, row);
    add_step(gpu_statistics, gpu, number.to(at::kCUDA), norm.to(at::kCUDA), row.to(at::kCUDA));
  }

  StepLosses cpu, gpu;
  StepStatistics cpu_statistics, gpu_statistics;
};

/// Sums of float32 in another order, in float64; NaN equals NaN.
void expect_equal_sums(const Tensor& gpu, const Tensor& cpu, double tolerance = 1e-13) {
  EXPECT_TRUE(at::allclose(gpu.cpu(), cpu, tolerance, tolerance, /*equal_nan=*/true)) << gpu << cpu;
}

void expect_equal_losses(const BothSums& both) {
  expect_equal_sums(both.gpu.loss, both.cpu.loss, /*tolerance=*/1e-6);  // float32
  expect_equal_sums(both.gpu.quarter_loss_sum, both.cpu.quarter_loss_sum);
  expect_equal_sums(both.gpu.quarter_images, both.cpu.quarter_images, 0);
  if (both.cpu.correct.defined()) expect_equal_sums(both.gpu.correct, both.cpu.correct, 0);
}

MicroBatchLosses drawn_losses(int64_t images, int64_t num_timesteps, bool classifies) {
  return {.objective = at::rand({images}),
          .plain = at::rand({images}),
          .t = at::randint(num_timesteps, {images}, at::kLong),
          .correct = classifies ? at::rand({images}) < 0.3 : Tensor()};
}

TEST(StepSumsGpuTest, LossesAreThoseOfTheCpu) {
  if (!at::hasCUDA()) GTEST_SKIP() << "no GPU, or a LibTorch without CUDA";
  at::manual_seed(1);
  for (const int64_t images : {1, 5, 33, 128, 1000}) {
    for (const int64_t num_timesteps : {2, 10, 1000}) {
      for (const bool classifies : {false, true}) {
        BothSums both(classifies);
        for (int64_t micro_batch = 0; micro_batch < 5; ++micro_batch) {
          // The second step begins at the third.
          both.add(drawn_losses(images, num_timesteps, classifies),
                   {.size = 2 * images, .num_timesteps = num_timesteps}, micro_batch % 2 == 0);
          expect_equal_losses(both);
        }
      }
    }
  }
}

TEST(StepSumsGpuTest, ANanStaysInItsQuarterAndItsStep) {
  if (!at::hasCUDA()) GTEST_SKIP() << "no GPU, or a LibTorch without CUDA";
  constexpr float kNotANumber = std::numeric_limits<float>::quiet_NaN();
  BothSums both(/*classifies=*/false);
  MicroBatchLosses losses = drawn_losses(8, 4, /*classifies=*/false);
  losses.plain[3] = kNotANumber;
  losses.t[3] = 2;
  losses.objective[3] = kNotANumber;
  both.add(losses, {.size = 8, .num_timesteps = 4}, /*is_first=*/true);
  expect_equal_losses(both);
  EXPECT_EQ(both.gpu.quarter_loss_sum.isnan().sum().item<int64_t>(), 1);
  both.add(drawn_losses(8, 4, false), {.size = 8, .num_timesteps = 4}, /*is_first=*/true);
  expect_equal_losses(both);
  EXPECT_FALSE(both.gpu.loss.isnan().item<bool>());
}

TEST(StepSumsGpuTest, StatisticsAreThoseOfTheCpu) {
  if (!at::hasCUDA()) GTEST_SKIP() << "no GPU, or a LibTorch without CUDA";
  constexpr float kNotANumber = std::numeric_limits<float>::quiet_NaN();
  at::manual_seed(2);
  for (const bool classifies : {false, true}) {
    BothSums both(classifies);
    const int64_t rows[] = {0, 1, 2, 0, 0, 1, 0};  // steps that were skipped
    for (int64_t step = 0; step < 7; ++step) {
      const int64_t row = rows[step];
      MicroBatchLosses losses = drawn_losses(64, 1000, classifies);
      if (row > 0) losses.objective[0] = losses.plain[0] = kNotANumber;
      both.add(losses, {.size = 64, .num_timesteps = 1000}, /*is_first=*/true);
      both.gpu.loss.copy_(both.cpu.loss);  // its last bit is compared above
      both.end(step, row == 2 ? kNotANumber : 1.5f * static_cast<float>(step), row);
    }
    std::vector<std::pair<std::string, Tensor>> expected;
    both.cpu_statistics.visit_tensors(
        [&](const char* name, const Tensor& value) { expected.emplace_back(name, value); });
    size_t next = 0;
    both.gpu_statistics.visit_tensors([&](const char* name, const Tensor& value) {
      SCOPED_TRACE(name);
      ASSERT_EQ(name, expected[next].first);
      expect_equal_sums(value, expected[next++].second);
    });
    EXPECT_EQ(both.gpu_statistics.steps.item<double>(), 4);
  }
}

}  // namespace
}  // namespace ddpm
