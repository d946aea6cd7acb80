#include <ATen/ATen.h>
#include <c10/core/StreamGuard.h>
#include <c10/core/impl/VirtualGuardImpl.h>
#include <gtest/gtest.h>
#include <torch/csrc/autograd/autograd.h>

#include <cstdint>
#include <functional>
#include <stdexcept>
#include <vector>

#include "ddpm/kernels/conv2d.h"
#include "ddpm/kernels/gradients_beside.h"
#include "ddpm/kernels/group_norm_silu.h"
#include "ddpm/kernels/map_attention.h"

namespace ddpm {
namespace {

constexpr int64_t kBesideImages = 32, kBesideSide = 16, kBesideChannels = 256;

/// Blocks of a U-Net: convolution with norm and shortcut, attention, a smaller map, a larger one.
/// Behind each the stream beside is given long work first, so that what nobody waits for is not
/// there.
class Blocks {
 public:
  explicit Blocks(bool of_leaves) : of_leaves_(of_leaves) {
    const auto add = [&](at::IntArrayRef sizes, double scale) {
      const Tensor values = at::randn(sizes, options()) * scale;
      leaves_.push_back(
          (sizes.size() == 4 ? values.contiguous(at::MemoryFormat::ChannelsLast) : values)
              .requires_grad_());
    };
    for (int64_t block = 0; block < kBlocks; ++block) {
      add({kBesideChannels}, 1.0);
      add({kBesideChannels}, 1.0);
      add({kBesideChannels, kBesideChannels, 3, 3}, 0.02);
      add({kBesideChannels, kBesideChannels, 1, 1}, 0.05);
      add({kBesideChannels}, 0.1);
      add({kBesideChannels}, 0.1);
    }
    add({kBesideChannels}, 1.0);
    add({kBesideChannels}, 1.0);
    for (int weight = 0; weight < 4; ++weight) add({kBesideChannels, kBesideChannels}, 0.05);
    for (int bias = 0; bias < 4; ++bias) add({kBesideChannels}, 0.1);
    add({kBesideChannels, kBesideChannels, 3, 3}, 0.02);
    add({kBesideChannels}, 0.1);
    add({kBesideChannels / 2, kBesideChannels, 3, 3}, 0.02);
    add({kBesideChannels / 2}, 0.1);
    Tensor& shrinking = leaves_.at(leaves_.size() - 4);  // of other strides than its gradient's
    shrinking = shrinking.detach().clone(at::MemoryFormat::Contiguous).requires_grad_();
    late_ = at::randn({4096, 4096}, options().dtype(at::kFloat));
    x_ = at::randn({kBesideImages, kBesideChannels, kBesideSide, kBesideSide}, options())
             .contiguous(at::MemoryFormat::ChannelsLast);
  }

  /// Of every leaf, by backward() alone or with gradients beside.
  std::vector<Tensor> gradients(bool beside) {
    const Tensor loss = forward().to(at::kFloat).square().mean();
    const auto backward = [&] { loss.backward(); };
    beside ? with_gradients_beside(x_.device(), backward) : backward();
    std::vector<Tensor> gradients;
    for (Tensor& leaf : leaves_) {
      gradients.push_back(leaf.grad().clone());
      leaf.mutable_grad() = Tensor();
    }
    return gradients;
  }

 private:
  static constexpr int64_t kBlocks = 4;
  static at::TensorOptions options() { return at::TensorOptions(at::kCUDA).dtype(at::kBFloat16); }

  Tensor next() {
    const Tensor& leaf = leaves_.at(next_++);
    return of_leaves_ ? leaf : leaf * 2;
  }

  Tensor forward() {
    next_ = 0;
    Tensor y = x_;
    for (int64_t block = 0; block < kBlocks; ++block) {
      const GroupNormSiluArgs norm{.x = y, .weight = next(), .bias = next(), .eps = 1e-6};
      Conv2dArgs args{.x = y, .weight = next()};
      const Conv2dArgs shortcut{.x = y, .weight = next()};
      args.bias = next();
      args.residual_bias = next();
      args.padding = 1;
      args.shortcut = &shortcut;
      args.norm = &norm;
      y = with_work_beside(conv2d(args));
    }
    return with_work_beside(enlarge(with_work_beside(shrink(with_work_beside(attend(y))))));
  }

  Tensor with_work_beside(Tensor y) const {
    y.register_hook([late = late_](const Tensor& d_y) {
      run_beside_gradients({late}, [&] { at::mm(late, late); });
      return d_y;
    });
    return y;
  }

  Tensor attend(const Tensor& y) {
    const GroupNormSiluArgs norm{
        .x = y, .weight = next(), .bias = next(), .eps = 1e-6, .silu = false};
    AttentionWeights weights;
    for (Tensor* weight : {&weights.q, &weights.k, &weights.v, &weights.out, &weights.q_bias,
                           &weights.k_bias, &weights.v_bias, &weights.out_bias}) {
      *weight = next();
    }
    const FoldedAttention folded = fold_attention(weights);
    return map_attention({.x = y, .norm = &norm, .weights = &folded});
  }

  Tensor shrink(const Tensor& y) {
    Conv2dArgs args{.x = y, .weight = next()};
    args.bias = next();
    args.stride = 2;
    args.padding = 1;
    return conv2d(args);
  }

  Tensor enlarge(const Tensor& y) {
    Conv2dArgs args{.x = y, .weight = next()};
    args.bias = next();
    args.padding = 1;
    args.upsampled = true;
    return conv2d(args);
  }

  bool of_leaves_;
  std::vector<Tensor> leaves_;
  size_t next_ = 0;
  Tensor x_, late_;
};

class GradientsBesideGpuTest : public ::testing::TestWithParam<bool> {
 protected:
  void SetUp() override {
    if (!at::hasCUDA()) GTEST_SKIP() << "no GPU, or a LibTorch without CUDA";
    const GroupNormSiluArgs norm{.x = {},
                                 .weight = at::ones({kBesideChannels}, kMap),
                                 .bias = at::ones({kBesideChannels}, kMap),
                                 .silu = false};
    if (!has_map_attention(
            at::zeros({kBesideImages, kBesideChannels, kBesideSide, kBesideSide}, kMap), norm)) {
      GTEST_SKIP() << "no such kernels on this GPU";
    }
  }

  const at::TensorOptions kMap = at::TensorOptions(at::kCUDA).dtype(at::kBFloat16);
};

c10::Stream stream_of_its_own() {
  const c10::impl::VirtualGuardImpl device(at::kCUDA);
  return device.getStreamFromGlobalPool(device.getDevice());
}

TEST_P(GradientsBesideGpuTest, BitsAreThoseOfTheBackwardPassAlone) {
  at::manual_seed(0);
  const c10::StreamGuard guard(stream_of_its_own());
  Blocks blocks(/*of_leaves=*/GetParam());
  const std::vector<Tensor> alone = blocks.gradients(/*beside=*/false);
  for (int again = 0; again < 5; ++again) {
    const std::vector<Tensor> beside = blocks.gradients(/*beside=*/true);
    for (size_t i = 0; i < alone.size(); ++i) {
      EXPECT_TRUE(at::equal(beside[i], alone[i])) << "leaf " << i << ", time " << again;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(WeightsThatAreLeavesOrNot, GradientsBesideGpuTest, ::testing::Bool());

// Without the wait the main stream would read the product while it is being made.
TEST_F(GradientsBesideGpuTest, AnErrorLeavesTheStreamAsItWas) {
  at::manual_seed(0);
  const c10::StreamGuard guard(stream_of_its_own());
  const at::Device device(at::kCUDA, 0);
  const Tensor matrix = at::randn({4096, 4096}, at::TensorOptions(device)) / 64;
  const auto power = [&] {
    Tensor product = matrix;
    for (int i = 0; i < 8; ++i) product = at::mm(product, matrix);
    return product;
  };
  const Tensor expected = power();
  Tensor product;
  const auto fails = [&] {
    run_beside_gradients({matrix}, [&] { product = power(); });
    throw std::runtime_error("no");
  };
  EXPECT_THROW(with_gradients_beside(device, fails), std::runtime_error);
  EXPECT_TRUE(at::equal(product, expected));
  Blocks blocks(/*of_leaves=*/true);
  const std::vector<Tensor> alone = blocks.gradients(/*beside=*/false);
  const std::vector<Tensor> beside = blocks.gradients(/*beside=*/true);
  for (size_t i = 0; i < alone.size(); ++i) EXPECT_TRUE(at::equal(beside[i], alone[i])) << i;
}

}  // namespace
}  // namespace ddpm
