#include "ddpm/kernels/group_norm_silu.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>
#include <stdexcept>

#include "support/tensor_matchers.h"

namespace ddpm {
namespace {

using testing::tensors_near;

/// Two images of six channels in three groups, with every optional input given.
GroupNormSiluArgs random_args(at::ScalarType dtype) {
  at::manual_seed(0);
  const auto maps = at::TensorOptions(dtype);
  GroupNormSiluArgs args;
  args.x = at::randn({2, 6, 4, 3}, maps).contiguous(at::MemoryFormat::ChannelsLast);
  args.num_groups = 3;
  args.weight = at::randn({6}, maps);
  args.bias = at::randn({6}, maps);
  args.eps = 1e-2;  // large enough to show where it enters
  args.time_embedding = at::randn({2, 6}, maps);
  args.scale = at::randn({2, 6}, maps);
  args.shift = at::randn({2, 6}, maps);
  return args;
}

double value(const Tensor& tensor, at::ArrayRef<int64_t> index) {
  Tensor at_index = tensor;
  for (const int64_t i : index) at_index = at_index[i];
  return at_index.item<double>();
}

/// The definition, element by element in double.
Tensor by_definition(const GroupNormSiluArgs& args) {
  const int64_t per_group = args.x.size(1) / args.num_groups;
  Tensor y = at::empty(args.x.sizes(), at::kDouble);
  const auto input = [&](int64_t n, int64_t c, int64_t i, int64_t j) {
    return value(args.x, {n, c, i, j}) +
           (args.time_embedding.defined() ? value(args.time_embedding, {n, c}) : 0.0);
  };
  for (int64_t n = 0; n < y.size(0); ++n) {
    for (int64_t c = 0; c < y.size(1); ++c) {
      double sum = 0.0;
      double squares = 0.0;
      const int64_t first = c / per_group * per_group;
      const int64_t count = per_group * y.size(2) * y.size(3);
      for (int64_t k = 0; k < count; ++k) {
        const int64_t pixel = k % (y.size(2) * y.size(3));
        const double x =
            input(n, first + k / (y.size(2) * y.size(3)), pixel / y.size(3), pixel % y.size(3));
        sum += x;
        squares += x * x;
      }
      const double mean = sum / static_cast<double>(count);
      const double variance = squares / static_cast<double>(count) - mean * mean;
      for (int64_t i = 0; i < y.size(2); ++i) {
        for (int64_t j = 0; j < y.size(3); ++j) {
          double h = (input(n, c, i, j) - mean) / std::sqrt(variance + args.eps);
          h = h * value(args.weight, {c}) + value(args.bias, {c});
          if (args.scale.defined()) {
            h = h * (1 + value(args.scale, {n, c})) + value(args.shift, {n, c});
          }
          y[n][c][i][j] = args.silu ? h / (1 + std::exp(-h)) : h;
        }
      }
    }
  }
  return y;
}

TEST(GroupNormSiluTest, EqualsItsDefinition) {
  GroupNormSiluArgs args = random_args(at::kDouble);
  EXPECT_TRUE(tensors_near(group_norm_silu(args), by_definition(args), 1e-12));
  args.silu = false;
  EXPECT_TRUE(tensors_near(group_norm_silu(args), by_definition(args), 1e-12));
}

TEST(GroupNormSiluTest, UndefinedInputsTakeNoPart) {
  GroupNormSiluArgs args = random_args(at::kDouble);
  args.time_embedding = args.scale = args.shift = Tensor();
  EXPECT_TRUE(tensors_near(group_norm_silu(args), by_definition(args), 1e-12));
}

TEST(GroupNormSiluTest, OutputIsChannelsLastAndTheInputStays) {
  GroupNormSiluArgs args = random_args(at::kFloat);
  args.x = args.x.contiguous();
  const Tensor before = args.x.clone();
  const Tensor y = group_norm_silu(args);
  EXPECT_TRUE(y.is_contiguous(at::MemoryFormat::ChannelsLast));
  EXPECT_TRUE(at::equal(args.x, before));
}

// bf16 keeps 8 bits; the statistics must not lose more, though x's mean is 20 deviations away.
TEST(GroupNormSiluTest, Bf16StatisticsAreKeptInFloat32) {
  GroupNormSiluArgs args = random_args(at::kBFloat16);
  args.time_embedding = args.scale = args.shift = Tensor();
  args.x = (args.x + 20).contiguous(at::MemoryFormat::ChannelsLast);
  const Tensor expected = by_definition(args);
  EXPECT_TRUE(tensors_near(group_norm_silu(args).to(at::kDouble), expected,
                           expected.abs().max().item<double>() / 64));
}

// Central differences in double: the error is about 1e-12 / step + step^2.
TEST(GroupNormSiluTest, GradientsMatchFiniteDifferences) {
  GroupNormSiluArgs args = random_args(at::kDouble);
  const Tensor probe = at::randn(args.x.sizes(), at::kDouble);
  const auto loss = [&] { return (group_norm_silu(args) * probe).sum(); };
  for (Tensor* input :
       {&args.x, &args.weight, &args.bias, &args.time_embedding, &args.scale, &args.shift}) {
    input->requires_grad_();
    loss().backward();
    const Tensor gradient = input->grad().clone();
    *input = input->detach();
    Tensor numeric = at::empty(input->sizes(), at::kDouble);
    const Tensor at_point = *input;
    for (int64_t k = 0; k < at_point.numel(); ++k) {
      const Tensor step =
          (at::arange(at_point.numel()) == k).to(at::kDouble).view(at_point.sizes());
      *input = at_point + 1e-5 * step;
      const double above = loss().item<double>();
      *input = at_point - 1e-5 * step;
      numeric.view({-1})[k] = (above - loss().item<double>()) / 2e-5;
    }
    *input = at_point;
    EXPECT_TRUE(tensors_near(gradient, numeric, 1e-7));
  }
}

TEST(GroupNormSiluTest, DropoutZeroesItsShareInTrainingOnly) {
  GroupNormSiluArgs args = random_args(at::kFloat);
  args.x = at::randn({16, 6, 32, 32}).contiguous(at::MemoryFormat::ChannelsLast);
  args.time_embedding = args.scale = args.shift = Tensor();
  const Tensor whole = group_norm_silu(args);
  args.dropout = 0.25;
  EXPECT_TRUE(at::equal(group_norm_silu(args), whole));
  args.training = true;
  const Tensor dropped = group_norm_silu(args);
  const Tensor kept = dropped != 0;
  // 98,304 draws: a deviation of 0.0014; five of them are allowed.
  EXPECT_NEAR(kept.to(at::kFloat).mean().item<double>(), 0.75, 0.007);
  EXPECT_TRUE(tensors_near(dropped, at::where(kept, whole / 0.75, at::zeros_like(whole)), 1e-5));
}

// Groups of three channels reach from the first map's four into the other's five.
TEST(GroupNormSiluTest, ForkNormalizesBothMapsAsOne) {
  GroupNormSiluArgs args = random_args(at::kDouble);
  const Tensor whole = at::randn({2, 9, 4, 3}, at::kDouble);
  args.weight = at::randn({9}, at::kDouble);
  args.bias = at::randn({9}, at::kDouble);
  args.time_embedding = args.scale = args.shift = Tensor();
  args.x = whole.narrow(/*dim=*/1, 0, 4);
  const GroupNormFork fork = group_norm_silu_fork(args, whole.narrow(/*dim=*/1, 4, 5));
  args.x = whole;
  EXPECT_TRUE(tensors_near(fork.y, group_norm_silu(args), 1e-12));
  const Tensor maps = fork.x_rest.defined() ? at::cat({fork.x, fork.x_rest}, 1) : fork.x;
  EXPECT_TRUE(at::equal(maps, whole));
}

TEST(GroupNormSiluTest, ForkOfOneMapGivesItBack) {
  const GroupNormSiluArgs args = random_args(at::kFloat);
  const GroupNormFork fork = group_norm_silu_fork(args);
  EXPECT_TRUE(at::equal(fork.y, group_norm_silu(args)));
  EXPECT_TRUE(at::equal(fork.x, args.x));
  EXPECT_TRUE(at::equal(fork.x_later, args.x));
  EXPECT_FALSE(fork.x_rest.defined());
}

TEST(GroupNormSiluTest, ForkRefusesMapsOfOtherSizes) {
  const GroupNormSiluArgs args = random_args(at::kFloat);
  EXPECT_THROW(group_norm_silu_fork(args, at::ones({2, 6, 4, 4})), std::invalid_argument);
  EXPECT_THROW(group_norm_silu_fork(args, at::ones({2, 6, 4, 3})), std::invalid_argument);
}

TEST(GroupNormSiluTest, RefusesShapesThatDisagree) {
  const GroupNormSiluArgs good = random_args(at::kFloat);
  GroupNormSiluArgs args = good;
  args.num_groups = 4;
  EXPECT_THROW(group_norm_silu(args), std::invalid_argument);
  args = good;
  args.weight = at::ones({5});
  EXPECT_THROW(group_norm_silu(args), std::invalid_argument);
  args = good;
  args.time_embedding = at::ones({1, 6});
  EXPECT_THROW(group_norm_silu(args), std::invalid_argument);
  args = good;
  args.shift = Tensor();
  EXPECT_THROW(group_norm_silu(args), std::invalid_argument);
  args = good;
  args.x = at::ones({2, 6, 4});
  EXPECT_THROW(group_norm_silu(args), std::invalid_argument);
}

}  // namespace
}  // namespace ddpm
