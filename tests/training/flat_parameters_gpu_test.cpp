#include <ATen/ATen.h>
#include <c10/core/StreamGuard.h>
#include <c10/core/impl/VirtualGuardImpl.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <map>
#include <memory>
#include <string>

#include "ddpm/core/device.h"
#include "ddpm/kernels/gradients_beside.h"
#include "ddpm/pipeline/precision.h"
#include "ddpm/training/flat_parameters.h"
#include "training/training_fixtures.h"

namespace ddpm {
namespace {

/// A network of which the gradients of weights are made beside those of maps.
RunConfig wide_maps_config() {
  RunConfig config = testing::tiny_config();
  config.model.unet2d.block_out_channels = {256, 256};
  config.model.unet2d.norm_num_groups = 32;
  return testing::resolved(config);
}

class FlatParametersGpuTest : public ::testing::TestWithParam<Precision> {
 protected:
  void SetUp() override {
    if (!at::hasCUDA()) GTEST_SKIP() << "no GPU, or a LibTorch without CUDA";
    configure_gpu();
  }

  /// Another gradient for every part.
  Tensor loss(int64_t part) const {
    at::manual_seed(static_cast<uint64_t>(part));
    const Tensor x = at::randn({64, 1, 8, 8}, at::device(at::kCUDA).dtype(dtype_of(GetParam())));
    const Tensor t = at::arange(64, at::device(at::kCUDA).dtype(at::kLong));
    return network_->forward(x, t, {}).to(at::kFloat).square().mean();
  }

  /// As autograd leaves them in the network, added up in float32.
  std::map<std::string, Tensor> expected(int64_t parts) const {
    std::map<std::string, Tensor> sums;
    for (int64_t part = 0; part < parts; ++part) {
      loss(part).backward();
      for (auto& item : network_->named_parameters()) {
        const Tensor grad = item->grad().to(at::kFloat);
        const auto [sum, is_new] = sums.emplace(item.key(), grad.clone());
        if (!is_new) sum->second.add_(grad);
        item->mutable_grad() = Tensor();
      }
    }
    return sums;
  }

  void gather(FlatParameters& parameters, int64_t parts) const {
    for (int64_t part = 0; part < parts; ++part) {
      const Tensor of_part = loss(part);
      parameters.begin_gather(/*is_first=*/part == 0);
      with_gradients_beside(of_part.device(), [&] { of_part.backward(); });
      for (const auto& item : network_->named_parameters()) {
        EXPECT_FALSE(item->grad().defined()) << item.key();
      }
      parameters.end_gather();
    }
  }

  /// With a network of its own: in bf16 it stays bound to what it computes with.
  void expect_gathered(int64_t parts) {
    network_ = testing::initialized_network(wide_maps_config());
    network_->to(at::kCUDA);
    FlatParameters parameters(network_, GetParam(), /*accumulation=*/parts);
    const std::map<std::string, Tensor> sums = expected(parts);
    for (int again = 0; again < 5; ++again) {
      parameters.grad().fill_(7);
      gather(parameters, parts);
      for (const auto& [name, grad] : parameters.named_parameters(parameters.grad())) {
        EXPECT_TRUE(at::equal(grad.to(at::kFloat), sums.at(name))) << name << ", time " << again;
      }
    }
  }

  std::shared_ptr<NetworkImpl> network_;
};

TEST_P(FlatParametersGpuTest, GradientsThatAreCopiedBesideTheBackwardPassKeepTheirBits) {
  const c10::impl::VirtualGuardImpl gpu(at::kCUDA);
  const c10::StreamGuard guard(gpu.getStreamFromGlobalPool(gpu.getDevice()));
  expect_gathered(/*parts=*/1);
  expect_gathered(/*parts=*/3);
}

TEST_P(FlatParametersGpuTest, OnTheDefaultStreamTheyAreCopiedBetweenItsWork) {
  expect_gathered(/*parts=*/1);
  expect_gathered(/*parts=*/3);
}

INSTANTIATE_TEST_SUITE_P(Precisions, FlatParametersGpuTest,
                         ::testing::Values(Precision::kFp32, Precision::kBf16),
                         [](const auto& test) { return enum_word(test.param); });

}  // namespace
}  // namespace ddpm
