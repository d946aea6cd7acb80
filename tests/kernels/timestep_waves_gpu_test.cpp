#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "ddpm/kernels/timestep_waves.h"

namespace ddpm {
namespace {

// An angle is up to 1000, and its float32 off by 6e-5.
TEST(TimestepWavesGpuTest, AreThoseOfFloat64) {
  if (!at::hasCUDA()) GTEST_SKIP() << "no GPU, or a LibTorch without CUDA";
  const Tensor whole = at::tensor({0, 1, 17, 500, 999}, at::kLong);
  for (const Tensor& t : {whole, whole.to(at::kFloat) * 0.75}) {
    for (const int64_t size : {2, 128, 129, 258, 512}) {
      for (const bool cos_first : {true, false}) {
        TimestepWavesOptions options{.size = size, .cos_first = cos_first};
        options.freq_shift = size > 2 ? 1 : 0;
        options.scale = size == 258 ? 0.5 : 1.0;
        const Tensor waves = timestep_waves(t.to(at::kCUDA), options, at::kFloat);
        const Tensor rounded = timestep_waves(t.to(at::kCUDA), options, at::kBFloat16);
        options.dtype = at::kDouble;
        const Tensor expected = timestep_waves(t, options, at::kDouble);
        EXPECT_EQ(waves.sizes(), expected.sizes());
        EXPECT_LT((waves.to(at::kCPU, at::kDouble) - expected).abs().max().item<double>(), 3e-4)
            << size;
        EXPECT_TRUE(at::equal(rounded, waves.to(at::kBFloat16))) << size;
      }
    }
  }
}

TEST(TimestepWavesGpuTest, TakeViewsAndNoRows) {
  if (!at::hasCUDA()) GTEST_SKIP() << "no GPU, or a LibTorch without CUDA";
  const Tensor t = at::arange(10, at::TensorOptions(at::kCUDA).dtype(at::kLong));
  const Tensor view = t.slice(/*dim=*/0, 0, 10, 3);
  EXPECT_TRUE(at::equal(timestep_waves(view, {}, at::kFloat),
                        timestep_waves(view.clone(), {}, at::kFloat)));
  EXPECT_EQ(timestep_waves(t.narrow(0, 0, 0), {}, at::kFloat).size(0), 0);
}

}  // namespace
}  // namespace ddpm
