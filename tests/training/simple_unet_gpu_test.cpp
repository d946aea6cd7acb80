#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <map>
#include <memory>
#include <string>

#include "ddpm/core/device.h"
#include "model/simple_networks.h"

namespace ddpm {
namespace {

struct SimpleUnetCase {
  at::ScalarType dtype;
  int64_t norm_num_groups;
  bool training;
  double tolerance;
};
void PrintTo(const SimpleUnetCase& c, std::ostream* out) {
  *out << c.dtype << " groups " << c.norm_num_groups << (c.training ? " training" : " eval");
}

class SimpleUnetGpuTest : public ::testing::TestWithParam<SimpleUnetCase> {
 protected:
  void SetUp() override {
    if (!at::hasCUDA()) GTEST_SKIP() << "no GPU, or a LibTorch without CUDA";
    configure_gpu();
    allows_tf32_ = at::globalContext().allowTF32CuDNN();
    at::globalContext().setAllowTF32CuDNN(false);  // float32 shall be float32
  }
  void TearDown() override {
    if (at::hasCUDA()) at::globalContext().setAllowTF32CuDNN(allows_tf32_);
  }

 private:
  bool allows_tf32_ = true;
};

/// Output, gradients and what the network holds after a step, by name, as float64 on the CPU.
std::map<std::string, Tensor> step_of(at::Device device, at::ScalarType dtype,
                                      const SimpleUnetCase& c) {
  SimpleUnetConfig config;
  config.image_channels = 3;
  config.level_channels = {16, 24, 40};
  config.norm_num_groups = c.norm_num_groups;
  const auto network = testing::simple_network(config);
  network->to(device);
  network->to(dtype);
  network->train(c.training);
  at::manual_seed(3);
  const Tensor x = at::randn({4, 3, 16, 16}, at::kDouble).to(device, dtype);
  const Tensor t = at::tensor({0, 7, 400, 999}, at::kLong).to(device);
  const Tensor y = network->forward(x, t, {});
  if (c.training) y.square().mean().backward();
  std::map<std::string, Tensor> results{{"y", y.detach()}};
  for (const auto& item : network->named_buffers()) results[item.key()] = item.value();
  if (c.training) {
    for (const auto& item : network->named_parameters()) {
      results[item.key() + " gradient"] = item->grad();
    }
  }
  for (auto& [name, result] : results) result = result.to(at::kCPU, at::kDouble);
  return results;
}

TEST_P(SimpleUnetGpuTest, StepIsThatOfFloat64OnACpu) {
  const SimpleUnetCase& c = GetParam();
  const auto expected = step_of(at::kCPU, at::kDouble, c);
  const auto got = step_of(at::Device(at::kCUDA, 0), c.dtype, c);
  ASSERT_EQ(got.size(), expected.size());
  for (const auto& [name, result] : expected) {
    ASSERT_TRUE(got.contains(name)) << name;
    const double error = (got.at(name) - result).norm().item<double>();
    EXPECT_LE(error, c.tolerance * result.norm().item<double>()) << name;
  }
}

// In training ReLU and the batch's statistics pass rounding on through every layer.
INSTANTIATE_TEST_SUITE_P(Networks, SimpleUnetGpuTest,
                         ::testing::Values(SimpleUnetCase{at::kDouble, 0, true, 1e-9},
                                           SimpleUnetCase{at::kFloat, 0, true, 1e-3},
                                           SimpleUnetCase{at::kFloat, 0, false, 1e-5},
                                           SimpleUnetCase{at::kFloat, 8, true, 1e-3},
                                           SimpleUnetCase{at::kBFloat16, 0, false, 0.03},
                                           SimpleUnetCase{at::kBFloat16, 8, false, 0.03}));

}  // namespace
}  // namespace ddpm
