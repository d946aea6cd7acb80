#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <gtest/gtest.h>

#include <map>
#include <memory>
#include <string>

#include "ddpm/checkpoint/safetensors.h"
#include "ddpm/model/gate.h"
#include "ddpm/model/self_attention_block.h"
#include "ddpm/model/state_dict.h"
#include "support/run_python.h"

namespace ddpm {
namespace {

/// The gates and the self-attention block in float64, with weights of a size at which every part
/// counts, and what PyTorch answers for them.
class GatesTest : public ::testing::Test {
 protected:
  void SetUp() override {
    at::manual_seed(0);
    for (const GateKind kind :
         {GateKind::kCbam, GateKind::kAttentionGate, GateKind::kSqueezeExcite}) {
      gates_[enum_word(kind)] = add(
          enum_word(kind),
          make_gate({.kind = kind, .channels = kChannels, .coarser_channels = 6, .reduction = 2}));
    }
    attention_ = add("self_attention", SelfAttentionBlock(kChannels, /*dropout=*/0.0).ptr());
    given_.insert(given_.end(), {{"x", x_}, {"coarser", coarser_}, {"probe", probe_}});
    const std::string folder = ::testing::TempDir();
    write_safetensors(folder + "/gates_in.safetensors", given_);
    testing::run_python({DDPM_SOURCE_DIR "/tests/model/gates_reference.py",
                         folder + "/gates_in.safetensors", folder + "/gates_out.safetensors"});
    const NamedTensors answers = read_safetensors(folder + "/gates_out.safetensors").tensors;
    expected_ = {answers.begin(), answers.end()};
  }

  template <typename Module>
  std::shared_ptr<Module> add(const std::string& name, std::shared_ptr<Module> module) {
    module->to(at::kDouble);
    const at::NoGradGuard no_grad;
    for (const auto& [key, tensor] : state_dict(*module)) {
      tensor.copy_(at::randn_like(tensor) * 0.5);
      given_.emplace_back(name + "." + key, tensor.detach().contiguous());
    }
    return module;
  }

  void expect_equal(const std::string& name, const Tensor& got) {
    const Tensor& want = expected_.at(name);
    ASSERT_EQ(got.sizes(), want.sizes()) << name;
    EXPECT_LE(((got - want).norm() / want.norm()).item<double>(), 1e-12) << name;
  }

  static constexpr int64_t kChannels = 8;
  const Tensor x_ = at::randn({2, kChannels, 6, 10}, at::kDouble);
  const Tensor coarser_ = at::randn({2, 6, 3, 5}, at::kDouble);
  const Tensor probe_ = at::randn({2, kChannels, 6, 10}, at::kDouble);
  std::map<std::string, std::shared_ptr<GateImpl>> gates_;
  std::shared_ptr<SelfAttentionBlockImpl> attention_;
  NamedTensors given_;
  std::map<std::string, Tensor> expected_;
};

TEST_F(GatesTest, ValuesAndGradientsEqualPyTorchs) {
  for (const auto& [name, gate] : gates_) {
    const Tensor x = x_.clone().requires_grad_();
    const Tensor coarser = coarser_.clone().requires_grad_();
    const Tensor y = gate->forward(x, coarser);
    (y * probe_).sum().backward();
    expect_equal(name + ".y", y.detach());
    expect_equal(name + ".grad_x", x.grad());
    if (name == "attention_gate") expect_equal(name + ".grad_coarser", coarser.grad());
  }
  const Tensor x = x_.clone().requires_grad_();
  const Tensor y = attention_->forward(x);
  (y * probe_).sum().backward();
  expect_equal("self_attention.y", y.detach());
  expect_equal("self_attention.grad_x", x.grad());
}

}  // namespace
}  // namespace ddpm
