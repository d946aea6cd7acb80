#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <limits>
#include <string>
#include <vector>

#include "ddpm/kernels/group_norm_silu.h"

namespace ddpm {
namespace {

struct GpuCase {
  std::string name;
  std::vector<int64_t> shape;  ///< N, C, H, W
  int64_t groups;
  at::ScalarType dtype;
  bool time_embedding;
  bool scale_shift;
  bool silu;
  int64_t rest_channels = 0;  ///< of C, in a second map
};
void PrintTo(const GpuCase& gpu_case, std::ostream* out) { *out << gpu_case.name; }

std::vector<GpuCase> gpu_cases() {
  constexpr auto kFloat = at::kFloat;
  constexpr auto kBf16 = at::kBFloat16;
  return {{"Plain", {4, 128, 32, 32}, 32, kFloat, false, false, true},
          {"PlainBf16", {4, 128, 32, 32}, 32, kBf16, false, false, true},
          {"TimeBf16", {3, 256, 16, 16}, 32, kBf16, true, false, true},
          {"ScaleShift", {3, 256, 8, 8}, 32, kFloat, false, true, true},
          {"AllBf16", {2, 384, 32, 32}, 32, kBf16, true, true, true},
          {"NormAlone", {2, 256, 16, 16}, 32, kFloat, false, false, false},
          {"OddPixels", {2, 512, 7, 5}, 32, kFloat, true, true, true},
          {"Large", {1, 64, 128, 128}, 8, kBf16, true, false, true},
          {"LargeInFloat", {1, 256, 64, 64}, 32, kFloat, true, false, true},
          {"OnePixel", {3, 64, 1, 1}, 8, kFloat, false, true, true},
          {"OneImage", {1, 512, 4, 4}, 32, kBf16, true, false, true},
          {"GroupsAcross", {3, 384, 8, 8}, 32, kFloat, false, true, true, 128},
          {"GroupsAcrossBf16", {2, 384, 32, 32}, 32, kBf16, true, false, true, 128},
          {"OddSplit", {2, 72, 5, 7}, 3, kFloat, true, true, false, 40},
          {"ManyChannels", {2, 1536, 8, 8}, 32, kBf16, false, false, true, 512},
          {"TwoSlices", {2, 256, 32, 32}, 32, kBf16, true, false, true},
          {"SliceOfEachMap", {3, 256, 32, 32}, 32, kBf16, false, true, true, 128},
          {"SliceAcrossMaps", {2, 256, 32, 32}, 32, kBf16, true, true, false, 64},
          {"ThreeSlices", {2, 384, 32, 32}, 24, kBf16, true, true, true, 128},
          {"FourSlices", {2, 384, 31, 33}, 32, kBf16, false, true, true, 128},
          {"SlicesOfManyImages", {40, 512, 16, 16}, 32, kBf16, true, false, true, 256},
          {"SlicesInFloat", {2, 192, 32, 32}, 24, kFloat, true, true, true, 64},
          {"FewChannels", {2, 24, 4, 4}, 3, kFloat, true, true, true},
          {"WideGroups", {2, 96, 8, 8}, 2, kFloat, true, false, true},
          {"NotFused", {2, 6, 5, 5}, 3, kFloat, true, true, true}};
}

class GroupNormSiluGpuTest : public ::testing::TestWithParam<GpuCase> {
 protected:
  void SetUp() override {
    if (!at::hasCUDA()) GTEST_SKIP() << "no GPU, or a LibTorch without CUDA";
  }
};

/// Output and gradients for these arguments, as float64 on the CPU. The maps are also read again.
std::vector<Tensor> results_of(GroupNormSiluArgs args, Tensor x_rest, const Tensor& d_y,
                               const Tensor& d_maps) {
  std::vector<Tensor*> inputs{&args.x, &args.weight, &args.bias};
  for (Tensor* input : {&args.time_embedding, &args.scale, &args.shift, &x_rest}) {
    if (input->defined()) inputs.push_back(input);
  }
  for (Tensor* input : inputs) *input = input->detach().requires_grad_(true);
  const GroupNormFork fork = group_norm_silu_fork(args, x_rest);
  const Tensor maps = fork.x_rest.defined() ? at::cat({fork.x, fork.x_rest}, 1) : fork.x;
  const Tensor d_later = d_maps.narrow(/*dim=*/1, 0, args.x.size(1)) * 2;
  ((fork.y * d_y).sum() + (maps * d_maps).sum() + (fork.x_later * d_later).sum()).backward();
  std::vector<Tensor> results{fork.y.detach().to(at::kCPU, at::kDouble)};
  for (Tensor* input : inputs) results.push_back(input->grad().to(at::kCPU, at::kDouble));
  return results;
}

/// Fills freed memory, which the next results will stand in, with NaN.
void poison_maps(at::IntArrayRef sizes, const at::TensorOptions& maps) {
  std::vector<Tensor> poisoned;
  for (int i = 0; i < 6; ++i) {
    poisoned.push_back(at::full(sizes, std::numeric_limits<double>::quiet_NaN(), maps));
  }
}

// The reference is the plain body in float64 on the CPU, from the same rounded inputs.
TEST_P(GroupNormSiluGpuTest, OutputAndGradientsAreThoseOfFloat64) {
  const GpuCase& c = GetParam();
  at::manual_seed(0);
  const auto maps = at::TensorOptions(at::kCUDA).dtype(c.dtype);
  const auto last = at::MemoryFormat::ChannelsLast;
  const int64_t n = c.shape[0];
  const int64_t channels = c.shape[1];
  GroupNormSiluArgs args;
  const Tensor x = at::randn(c.shape, maps) * 2 + 1;
  args.x = x.narrow(/*dim=*/1, 0, channels - c.rest_channels).contiguous(last);
  Tensor x_rest;
  if (c.rest_channels > 0) {
    x_rest = x.narrow(/*dim=*/1, channels - c.rest_channels, c.rest_channels).contiguous(last);
  }
  args.num_groups = c.groups;
  args.weight = at::randn({channels}, maps);
  args.bias = at::randn({channels}, maps);
  args.silu = c.silu;
  if (c.time_embedding) args.time_embedding = at::randn({n, channels}, maps);
  if (c.scale_shift) {
    const auto halves = at::randn({n, 2 * channels}, maps).chunk(2, 1);  // strided rows
    args.scale = halves[0];
    args.shift = halves[1];
  }
  const Tensor d_y = at::randn(c.shape, maps).contiguous(last);
  const Tensor d_maps = at::randn(c.shape, maps).contiguous(last);
  const auto exactly = [](const Tensor& tensor) {
    return tensor.defined() ? tensor.to(at::kCPU, at::kDouble) : tensor;
  };
  GroupNormSiluArgs exact = args;
  for (Tensor* input :
       {&exact.x, &exact.weight, &exact.bias, &exact.time_embedding, &exact.scale, &exact.shift}) {
    *input = exactly(*input);
  }
  const auto expected = results_of(exact, exactly(x_rest), exactly(d_y), exactly(d_maps));
  poison_maps(c.shape, maps);
  const auto got = results_of(args, x_rest, d_y, d_maps);
  const double tolerance = c.dtype == at::kFloat ? 3e-6 : 4e-3;  // bf16 rounds what is stored
  for (size_t i = 0; i < expected.size(); ++i) {
    const double error =
        ((got[i] - expected[i]).norm() / expected[i].norm().clamp_min(1e-30)).item<double>();
    EXPECT_LT(error, tolerance) << "result " << i;
  }
  const auto again = results_of(args, x_rest, d_y, d_maps);
  for (size_t i = 0; i < got.size(); ++i) EXPECT_TRUE(at::equal(got[i], again[i])) << i;
}

INSTANTIATE_TEST_SUITE_P(Shapes, GroupNormSiluGpuTest, ::testing::ValuesIn(gpu_cases()),
                         [](const auto& test) { return test.param.name; });

/// Of so many channels: many are worked on in slices.
class GroupNormSiluDropoutGpuTest : public ::testing::TestWithParam<int64_t> {};

TEST_P(GroupNormSiluDropoutGpuTest, DropsItsShareAndPassesGradientsWhereItKeeps) {
  if (!at::hasCUDA()) GTEST_SKIP() << "no GPU, or a LibTorch without CUDA";
  at::manual_seed(3);
  const auto maps = at::TensorOptions(at::kCUDA);
  GroupNormSiluArgs args;
  args.x = at::randn({8, GetParam(), 32, 32}, maps).contiguous(at::MemoryFormat::ChannelsLast);
  args.weight = at::randn({GetParam()}, maps);
  args.bias = at::randn({GetParam()}, maps);
  const Tensor whole = group_norm_silu(args);
  args.dropout = 0.25;
  args.training = true;
  args.x.requires_grad_(true);
  const Tensor dropped = group_norm_silu(args);
  const Tensor kept = dropped != 0;
  // At least 524,288 draws: a deviation of 0.0006; five of them are allowed.
  EXPECT_NEAR(kept.to(at::kFloat).mean().item<double>(), 0.75, 0.003);
  const Tensor factor = kept.to(at::kFloat) / 0.75;
  EXPECT_LT((dropped - whole * factor).abs().max().item<double>(), 1e-4);
  EXPECT_FALSE(at::equal(group_norm_silu(args) != 0, kept));

  const Tensor d_y = at::randn_like(whole);
  dropped.backward(d_y);
  const Tensor got = args.x.grad().clone();
  args.x = args.x.detach().requires_grad_(true);
  args.training = false;
  group_norm_silu(args).backward(d_y * factor);
  EXPECT_LT(((got - args.x.grad()).norm() / got.norm()).item<double>(), 1e-5);
}

INSTANTIATE_TEST_SUITE_P(Channels, GroupNormSiluDropoutGpuTest, ::testing::Values(64, 256),
                         ::testing::PrintToStringParamName());

}  // namespace
}  // namespace ddpm
