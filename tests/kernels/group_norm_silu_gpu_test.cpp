#include <ATen/ATen.h>
#include <gtest/gtest.h>

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

/// Output and gradients for these arguments, as float64 on the CPU.
std::vector<Tensor> results_of(GroupNormSiluArgs args, const Tensor& d_y) {
  std::vector<Tensor*> inputs{&args.x, &args.weight, &args.bias};
  for (Tensor* input : {&args.time_embedding, &args.scale, &args.shift}) {
    if (input->defined()) inputs.push_back(input);
  }
  for (Tensor* input : inputs) *input = input->detach().requires_grad_(true);
  const Tensor y = group_norm_silu(args);
  y.backward(d_y);
  std::vector<Tensor> results{y.detach().to(at::kCPU, at::kDouble)};
  for (Tensor* input : inputs) results.push_back(input->grad().to(at::kCPU, at::kDouble));
  return results;
}

// The reference is the plain body in float64 on the CPU, from the same rounded inputs.
TEST_P(GroupNormSiluGpuTest, OutputAndGradientsAreThoseOfFloat64) {
  const GpuCase& c = GetParam();
  at::manual_seed(0);
  const auto maps = at::TensorOptions(at::kCUDA).dtype(c.dtype);
  const int64_t n = c.shape[0];
  const int64_t channels = c.shape[1];
  GroupNormSiluArgs args;
  args.x = (at::randn(c.shape, maps) * 2 + 1).contiguous(at::MemoryFormat::ChannelsLast);
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
  const Tensor d_y = at::randn(c.shape, maps).contiguous(at::MemoryFormat::ChannelsLast);

  GroupNormSiluArgs exact = args;
  for (Tensor* input :
       {&exact.x, &exact.weight, &exact.bias, &exact.time_embedding, &exact.scale, &exact.shift}) {
    if (input->defined()) *input = input->to(at::kCPU, at::kDouble);
  }
  const auto expected = results_of(exact, d_y.to(at::kCPU, at::kDouble));
  const auto got = results_of(args, d_y);
  const double tolerance = c.dtype == at::kFloat ? 2e-6 : 4e-3;  // bf16 rounds what is stored
  for (size_t i = 0; i < expected.size(); ++i) {
    const double error =
        ((got[i] - expected[i]).norm() / expected[i].norm().clamp_min(1e-30)).item<double>();
    EXPECT_LT(error, tolerance) << "result " << i;
  }
  const auto again = results_of(args, d_y);
  for (size_t i = 0; i < got.size(); ++i) EXPECT_TRUE(at::equal(got[i], again[i])) << i;
}

INSTANTIATE_TEST_SUITE_P(Shapes, GroupNormSiluGpuTest, ::testing::ValuesIn(gpu_cases()),
                         [](const auto& test) { return test.param.name; });

}  // namespace
}  // namespace ddpm
