// The fused bodies of the CPU against group_norm_silu in float64, which ATen's operators compute.
#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <ATen/core/grad_mode.h>
#include <gtest/gtest.h>

#include <limits>
#include <vector>

#include "ddpm/kernels/group_norm_silu.h"

namespace ddpm {
namespace {

enum Extra { kPlain, kTime, kScaleShift };

struct NormCase {
  std::vector<int64_t> shape;
  int64_t num_groups;
  Extra extra = kPlain;
  bool silu = true;
};

// Odd channel counts, whole vectors and rests, several tasks an image, 1x1 maps, batch 1, and more
// pixels than float32 sums take at once.
const std::vector<NormCase>& norm_cases() {
  static const std::vector<NormCase> cases{
      {{2, 6, 4, 3}, 3, kTime},
      {{1, 7, 5, 5}, 1, kScaleShift},
      {{3, 32, 1, 1}, 4, kTime},
      {{1, 128, 8, 8}, 32, kTime},
      {{2, 96, 4, 4}, 8, kScaleShift},
      {{1, 384, 2, 3}, 32},
      {{2, 40, 17, 19}, 8, kTime, false},
      {{1, 24, 40, 30}, 3, kScaleShift, false},
      {{5, 33, 3, 1}, 11},
  };
  return cases;
}

GroupNormSiluArgs norm_args(const NormCase& c, at::ScalarType dtype) {
  at::manual_seed(3);
  const auto draw = [&](at::IntArrayRef sizes) { return at::randn(sizes).to(dtype); };
  const int64_t images = c.shape[0];
  const int64_t channels = c.shape[1];
  GroupNormSiluArgs args;
  args.x = (2 * draw(c.shape) + 3).contiguous(at::MemoryFormat::ChannelsLast);
  args.num_groups = c.num_groups;
  args.weight = draw({channels});
  args.bias = draw({channels});
  args.silu = c.silu;
  if (c.extra == kTime) args.time_embedding = draw({images, channels});
  if (c.extra == kScaleShift) {
    const Tensor both = draw({images, 2 * channels});  // rows that are not dense
    args.scale = both.narrow(1, 0, channels);
    args.shift = both.narrow(1, channels, channels);
  }
  return args;
}

std::vector<Tensor*> inputs_of(GroupNormSiluArgs& args) {
  std::vector<Tensor*> inputs;
  for (Tensor* input :
       {&args.x, &args.weight, &args.bias, &args.time_embedding, &args.scale, &args.shift}) {
    if (input->defined()) inputs.push_back(input);
  }
  return inputs;
}

/// y, and the gradients of all inputs for a fixed gradient of y.
std::vector<Tensor> results_of(GroupNormSiluArgs args) {
  for (Tensor* input : inputs_of(args)) *input = input->detach().requires_grad_();
  const Tensor y = group_norm_silu(args);
  at::manual_seed(4);
  const Tensor d_y = at::randn(y.sizes(), at::kDouble).to(at::kBFloat16);
  y.backward(d_y.to(y.scalar_type()).contiguous(at::MemoryFormat::ChannelsLast));
  std::vector<Tensor> results{y.detach()};
  for (Tensor* input : inputs_of(args)) results.push_back(input->grad());
  return results;
}

void expect_agreement(at::ScalarType dtype, double tolerance) {
  for (const NormCase& c : norm_cases()) {
    const GroupNormSiluArgs args = norm_args(c, dtype);
    GroupNormSiluArgs exact = args;
    for (Tensor* input : inputs_of(exact)) *input = input->to(at::kDouble);
    const std::vector<Tensor> got = results_of(args);
    const std::vector<Tensor> expected = results_of(exact);
    for (size_t i = 0; i < got.size(); ++i) {
      EXPECT_EQ(got[i].scalar_type(), dtype);
      const double size = expected[i].abs().max().item<double>();
      const double worst = (got[i].to(at::kDouble) - expected[i]).abs().max().item<double>();
      EXPECT_LE(worst, tolerance * size)
          << "result " << i << " of a map " << at::IntArrayRef(c.shape) << " in " << c.num_groups
          << " groups";
    }
  }
}

TEST(GroupNormSiluCpuTest, Float32AgreesWithFloat64) { expect_agreement(at::kFloat, 1e-5); }

// bf16 keeps 8 bits: half a unit in the last place is 2^-9 of a value.
TEST(GroupNormSiluCpuTest, Bf16AgreesWithFloat64) { expect_agreement(at::kBFloat16, 1e-2); }

TEST(GroupNormSiluCpuTest, SamplingComputesTheSameBitsAsTraining) {
  for (const NormCase& c : norm_cases()) {
    const GroupNormSiluArgs args = norm_args(c, at::kBFloat16);
    const Tensor trained = results_of(args)[0];
    const at::NoGradGuard no_grad;
    EXPECT_TRUE(at::equal(group_norm_silu(args), trained));
  }
}

TEST(GroupNormSiluCpuTest, ResultsDoNotDependOnTheNumberOfThreads) {
  const int threads = at::get_num_threads();
  const GroupNormSiluArgs args =
      norm_args({.shape = {2, 256, 16, 16}, .num_groups = 32, .extra = kTime}, at::kFloat);
  at::set_num_threads(1);
  const std::vector<Tensor> alone = results_of(args);
  at::set_num_threads(3);
  const std::vector<Tensor> together = results_of(args);
  at::set_num_threads(threads);
  for (size_t i = 0; i < alone.size(); ++i) EXPECT_TRUE(at::equal(alone[i], together[i]));
}

TEST(GroupNormSiluCpuTest, LargeInputsStayFinite) {
  GroupNormSiluArgs args = norm_args({.shape = {1, 32, 4, 4}, .num_groups = 4}, at::kFloat);
  args.weight = args.weight * 1e4;
  const std::vector<Tensor> results = results_of(args);
  for (const Tensor& result : results) EXPECT_TRUE(at::isfinite(result).all().item<bool>());
}

TEST(GroupNormSiluCpuTest, NansAreFound) {
  for (const auto dtype : {at::kFloat, at::kBFloat16}) {
    GroupNormSiluArgs args = norm_args({.shape = {2, 64, 3, 3}, .num_groups = 4}, dtype);
    args.x[1][5][2][1] = std::numeric_limits<double>::quiet_NaN();
    const Tensor found = at::isnan(group_norm_silu(args));
    EXPECT_TRUE(found[1].narrow(0, 0, 16).all().item<bool>());
    EXPECT_EQ(found.sum().item<int64_t>(), 16 * 9);  // its group alone
  }
}

}  // namespace
}  // namespace ddpm
