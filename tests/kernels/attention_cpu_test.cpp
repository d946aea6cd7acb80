// The CPU's bfloat16 products against attention() in float64, which ATen's operators compute.
#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <ATen/core/grad_mode.h>
#include <gtest/gtest.h>

#include <limits>
#include <vector>

#include "ddpm/kernels/attention.h"

namespace ddpm {
namespace {

struct AttentionCase {
  int64_t images, length, num_heads, width;
};

// One head and several; fewer places than a task takes, and some more; sizes that LibTorch takes.
const std::vector<AttentionCase>& attention_cases() {
  static const std::vector<AttentionCase> cases{
      {1, 256, 1, 256}, {2, 32, 1, 64},  {3, 96, 2, 32},
      {1, 64, 4, 64},   {2, 160, 1, 96}, {1, 49, 1, 40},
  };
  return cases;
}

Tensor draw_qkv(const AttentionCase& c) {
  at::manual_seed(2);
  return at::randn({c.images, c.length, 3 * c.num_heads * c.width}).to(at::kBFloat16);
}

// Weights and result are rounded to bf16, 2^-8 of a value at most.
TEST(AttentionCpuTest, Bf16AgreesWithFloat64) {
  const at::NoGradGuard no_grad;
  for (const AttentionCase& c : attention_cases()) {
    const Tensor qkv = draw_qkv(c);
    const Tensor expected = attention(qkv.to(at::kDouble), c.num_heads);
    const Tensor y = attention(qkv, c.num_heads);
    EXPECT_EQ(y.scalar_type(), at::kBFloat16);
    EXPECT_LE((y.to(at::kDouble) - expected).abs().max().item<double>(),
              expected.abs().max().item<double>() / 128)
        << c.length << " places, " << c.num_heads << " heads of " << c.width;
  }
}

TEST(AttentionCpuTest, ResultsDoNotDependOnTheNumberOfThreads) {
  const int threads = at::get_num_threads();
  const at::NoGradGuard no_grad;
  const Tensor qkv = draw_qkv(attention_cases()[0]);
  at::set_num_threads(1);
  const Tensor alone = attention(qkv, 1);
  at::set_num_threads(3);
  EXPECT_TRUE(at::equal(attention(qkv, 1), alone));
  at::set_num_threads(threads);
}

TEST(AttentionCpuTest, NansAreFound) {
  const at::NoGradGuard no_grad;
  Tensor qkv = draw_qkv(attention_cases()[1]);
  qkv[1][5][3] = std::numeric_limits<double>::quiet_NaN();  // of a query
  const Tensor found = at::isnan(attention(qkv, 1));
  EXPECT_TRUE(found[1][5].all().item<bool>());
  EXPECT_FALSE(found[0].any().item<bool>());
}

}  // namespace
}  // namespace ddpm
