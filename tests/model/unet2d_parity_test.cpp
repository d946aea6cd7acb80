#include <ATen/ATen.h>
#include <c10/util/StringUtil.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <map>
#include <string>

#include "ddpm/checkpoint/network_json.h"
#include "ddpm/checkpoint/safetensors.h"
#include "ddpm/model/network.h"
#include "ddpm/model/state_dict.h"

namespace ddpm {
namespace {

namespace fs = std::filesystem;
using Entries = std::map<std::string, Tensor>;

/// Runs tests/parity/unet2d_reference.py once; its docstring says what it writes.
class UNet2DParityTest : public ::testing::TestWithParam<std::string> {
 protected:
  static void SetUpTestSuite() {
    const fs::path script = fs::path(DDPM_SOURCE_DIR) / "tests/parity/unet2d_reference.py";
    const fs::path python = fs::path(DDPM_SOURCE_DIR) / ".venv/bin/python";
    fs::remove_all(reference());
    const std::string command =
        c10::str("'", python.string(), "' '", script.string(), "' '", reference().string(), "'");
    ASSERT_EQ(std::system(command.c_str()), 0) << command;
  }
  static void TearDownTestSuite() { fs::remove_all(reference()); }
  static fs::path reference() { return fs::path(::testing::TempDir()) / "ddpm_unet2d_reference"; }

  static ModelConfig config() {
    const fs::path file = reference() / GetParam() / "config.json";
    return network_from_json(nlohmann::json::parse(std::ifstream(file)), file.string());
  }
  static Entries entries(const std::string& dtype) {
    const auto file = read_safetensors(reference() / GetParam() / c10::str(dtype, ".safetensors"));
    return {file.tensors.begin(), file.tensors.end()};
  }
};

void load_weights(NetworkImpl& network, const Entries& expected) {
  NamedTensors weights;
  for (const auto& [name, tensor] : expected) {
    if (name.starts_with("weight/")) weights.emplace_back(name.substr(7), tensor);
  }
  load_state_dict(network, weights, "reference");
}

double norm_of(const Tensor& tensor) { return tensor.norm().item<double>(); }

double relative_error(const Tensor& got, const Tensor& expected) {
  return norm_of(got - expected) / norm_of(expected);
}

/// The size that a gradient's error is measured against: its own. But softmax does not see a key's
/// bias, whose gradient is rounding alone; it is measured against the key's weight.
double gradient_scale(const Entries& expected, const std::string& name) {
  const size_t key_bias = name.rfind("to_k.bias");
  if (key_bias == std::string::npos) return norm_of(expected.at(c10::str("grad/", name)));
  return norm_of(expected.at(c10::str("grad/", name.substr(0, key_bias), "to_k.weight")));
}

void expect_equal(const Entries& expected, const ModelConfig& config, double tolerance) {
  const auto network = make_network(config);
  network->to(expected.at("x").scalar_type());
  network->eval();
  load_weights(*network, expected);
  const Tensor x = expected.at("x").clone().requires_grad_();
  const auto labels = expected.find("class_labels");
  const Tensor y = network->forward(
      x, expected.at("t"), {.class_labels = labels == expected.end() ? Tensor() : labels->second});
  (y * expected.at("probe")).sum().backward();

  double worst = relative_error(y, expected.at("y"));
  EXPECT_LE(worst, tolerance);
  worst = std::max(worst, relative_error(x.grad(), expected.at("grad_x")));
  EXPECT_LE(worst, tolerance);
  for (const auto& parameter : network->named_parameters()) {
    const std::string& name = parameter.key();
    ASSERT_TRUE(parameter.value().grad().defined()) << name;
    const double error = norm_of(parameter.value().grad() - expected.at(c10::str("grad/", name))) /
                         gradient_scale(expected, name);
    EXPECT_LE(error, tolerance) << name;
    worst = std::max(worst, error);
  }
  ::testing::Test::RecordProperty("worst_relative_error", c10::str(worst));
}

TEST_P(UNet2DParityTest, NamesComeInDiffusersOrder) {
  std::ifstream keys(reference() / GetParam() / "keys.txt");
  std::string key;
  for (const auto& [name, tensor] : state_dict(*make_network(config()))) {
    ASSERT_TRUE(std::getline(keys, key));
    EXPECT_EQ(name, key);
  }
  EXPECT_FALSE(std::getline(keys, key)) << key;
}

TEST_P(UNet2DParityTest, OutputsAndAllGradientsEqualInFloat32) {
  expect_equal(entries("float32"), config(), 1e-5);
}

// Leaves no room for a difference that float32's rounding could hide.
TEST_P(UNet2DParityTest, OutputsAndAllGradientsEqualInFloat64) {
  expect_equal(entries("float64"), config(), 1e-10);
}

INSTANTIATE_TEST_SUITE_P(Configs, UNet2DParityTest,
                         ::testing::Values("as_ddpm_cifar10", "heads_and_three_levels",
                                           "scale_shift_resnet_blocks_and_classes",
                                           "resnet_resampling_and_class_timesteps",
                                           "no_attention_grey_centred_and_identity",
                                           "odd_channels_and_heads_that_leave_some_out",
                                           "one_level_of_odd_sides"),
                         [](const auto& suite) { return suite.param; });

}  // namespace
}  // namespace ddpm
