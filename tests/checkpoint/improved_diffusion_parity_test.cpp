#include <ATen/ATen.h>
#include <c10/util/StringUtil.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <map>
#include <string>

#include "ddpm/checkpoint/improved_diffusion.h"
#include "ddpm/checkpoint/model_folder.h"
#include "ddpm/checkpoint/safetensors.h"
#include "ddpm/model/network.h"
#include "ddpm/model/state_dict.h"
#include "support/run_python.h"

namespace ddpm {
namespace {

namespace fs = std::filesystem;

struct ParityCase {
  const char* name;
  ImprovedDiffusionOptions options;
};

/// Runs improved_diffusion_reference.py once; its docstring says what it writes.
class ImprovedDiffusionParityTest : public ::testing::TestWithParam<ParityCase> {
 protected:
  static void SetUpTestSuite() {
    fs::remove_all(reference());
    testing::run_python({DDPM_SOURCE_DIR "/tests/checkpoint/improved_diffusion_reference.py",
                         reference().string()});
  }
  static void TearDownTestSuite() { fs::remove_all(reference()); }
  static fs::path reference() { return fs::path(::testing::TempDir()) / "ddpm_improved_reference"; }

  static std::map<std::string, Tensor> entries(const std::string& dtype) {
    const auto file =
        read_safetensors(reference() / c10::str(GetParam().name, ".", dtype, ".safetensors"));
    return {file.tensors.begin(), file.tensors.end()};
  }

  /// Weights or gradients, under UNet2D's names.
  static ImprovedDiffusionImport import(const std::map<std::string, Tensor>& entries,
                                        const std::string& prefix) {
    NamedTensors tensors;
    for (const auto& [name, tensor] : entries) {
      if (name.starts_with(prefix)) tensors.emplace_back(name.substr(prefix.size()), tensor);
    }
    EXPECT_TRUE(is_improved_diffusion(tensors));
    return import_improved_diffusion(tensors, GetParam().options, "reference");
  }
};

double relative_distance(const Tensor& got, const Tensor& expected, const Tensor& scale) {
  return (got - expected).norm().item<double>() / scale.norm().item<double>();
}

void expect_same_network(const std::map<std::string, Tensor>& reference,
                         const ImprovedDiffusionImport& imported, const NamedTensors& gradients,
                         double tolerance) {
  ModelConfig config;
  config.unet2d = imported.config;
  const auto network = make_network(config);
  network->to(reference.at("x").scalar_type());
  network->eval();
  load_state_dict(*network, imported.weights, "reference");
  const Tensor x = reference.at("x").clone().requires_grad_();
  const auto labels = reference.find("class_labels");
  const Tensor y =
      network->forward(x, reference.at("t"),
                       {.class_labels = labels == reference.end() ? Tensor() : labels->second});
  (y * reference.at("probe")).sum().backward();

  EXPECT_LE(relative_distance(y, reference.at("y"), reference.at("y")), tolerance);
  EXPECT_LE(relative_distance(x.grad(), reference.at("grad_x"), reference.at("grad_x")), tolerance);
  const std::map<std::string, Tensor> expected(gradients.begin(), gradients.end());
  for (const auto& parameter : network->named_parameters()) {
    const std::string& name = parameter.key();
    // Softmax doesn't see a key's bias: its gradient is rounding, measured against the weight's.
    const size_t key_bias = name.rfind("to_k.bias");
    const std::string scale =
        key_bias == std::string::npos ? name : name.substr(0, key_bias) + "to_k.weight";
    EXPECT_LE(relative_distance(parameter.value().grad(), expected.at(name), expected.at(scale)),
              tolerance)
        << name;
  }
}

TEST_P(ImprovedDiffusionParityTest, OutputsAndAllGradientsEqualInFloat32) {
  const auto reference = entries("float32");
  expect_same_network(reference, import(reference, "weight/"), import(reference, "grad/").weights,
                      1e-5);
}

// Leaves no room for a difference that float32's rounding could hide.
TEST_P(ImprovedDiffusionParityTest, OutputsAndAllGradientsEqualInFloat64) {
  const auto reference = entries("float64");
  expect_same_network(reference, import(reference, "weight/"), import(reference, "grad/").weights,
                      1e-10);
}

// The imported network's t is scaled, which diffusers would ignore.
TEST(ImprovedDiffusionFolderTest, ComesBackEqualAndIsRefusedByDiffusers) {
  const fs::path path = fs::path(::testing::TempDir()) / "ddpm_improved_folder";
  fs::remove_all(path);
  ModelFolder folder;
  folder.model.unet2d.in_channels = folder.model.unet2d.out_channels = 3;
  folder.model.unet2d.block_out_channels = {32, 32};
  folder.model.unet2d.down_block_types = {DownBlockType::kDown, DownBlockType::kDown};
  folder.model.unet2d.up_block_types = {UpBlockType::kUp, UpBlockType::kUp};
  for (const double scale : {1.0, 0.25}) {
    folder.model.unet2d.timestep_scale = scale;
    const auto network = make_network(folder.model);
    initialize(*network, /*seed=*/1);
    folder.weights = state_dict(*network);
    write_model_folder(path, folder, /*overwrite=*/true);
    const ModelFolder read = read_model_folder(path);
    EXPECT_EQ(read.model.unet2d.timestep_scale, scale);
    load_state_dict(*network, read.weights, "folder");
    testing::run_python({DDPM_SOURCE_DIR "/tests/checkpoint/diffusers_loads.py", path.string(),
                         scale == 1.0 ? "yes" : "no"});
  }
  // A network that enlarges images: as many channels in again, which UNet2DModel can have.
  folder.model.unet2d.timestep_scale = 1;
  folder.model.unet2d.in_channels *= 2;
  folder.extras.super_resolution = 2;
  const auto network = make_network(folder.model);
  initialize(*network, /*seed=*/1);
  folder.weights = state_dict(*network);
  write_model_folder(path, folder, /*overwrite=*/true);
  testing::run_python({DDPM_SOURCE_DIR "/tests/checkpoint/diffusers_loads.py", path.string(), "yes",
                       std::to_string(folder.model.unet2d.in_channels)});
  fs::remove_all(path);
}

INSTANTIATE_TEST_SUITE_P(
    Configs, ImprovedDiffusionParityTest,
    ::testing::Values(ParityCase{"improved_diffusion", {.num_heads = 4, .timestep_scale = 0.25}},
                      ParityCase{"heads_by_number", {.num_heads = 2}},
                      ParityCase{"adm", {.head_channels = 32, .new_attention_order = true}},
                      ParityCase{"added_embedding_without_convolutions_between_levels",
                                 {.num_heads = 1}}),
    [](const auto& suite) { return std::string(suite.param.name); });

}  // namespace
}  // namespace ddpm
