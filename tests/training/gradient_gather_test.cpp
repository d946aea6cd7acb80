#include "ddpm/training/gradient_gather.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>
#include <torch/csrc/autograd/autograd.h>

#include <cstdint>
#include <memory>
#include <stdexcept>
#include <thread>
#include <vector>

namespace ddpm {
namespace {

/// Leaves of many sizes, one of which alone is copied at once, and where their gradients go.
struct GatheredLeaves {
  std::vector<Tensor> leaves, targets;

  explicit GatheredLeaves(at::ScalarType dtype, at::ScalarType target_dtype) {
    at::manual_seed(0);
    for (int64_t i = 0; i < 100; ++i) {
      leaves.push_back(at::randn({i % 7 + 1, i % 5 + 2}, dtype).requires_grad_());
    }
    leaves.push_back(at::randn({2, 1 << 20}, dtype).requires_grad_());
    leaves.push_back(
        at::randn({4, 8, 3, 3}, dtype).contiguous(at::MemoryFormat::ChannelsLast).requires_grad_());
    for (const Tensor& leaf : leaves) {
      targets.push_back(at::full_like(leaf.detach(), 7, at::TensorOptions(target_dtype)));
    }
  }

  /// Another gradient for every scale.
  Tensor loss(double scale) const {
    Tensor sum = at::zeros({});
    for (const Tensor& leaf : leaves) sum = sum + (leaf * scale).sin().to(at::kFloat).sum();
    return sum;
  }
  std::vector<Tensor> expected(double scale) const {
    return torch::autograd::grad({loss(scale)}, leaves);
  }
  void expect_targets(const std::vector<Tensor>& expected) const {
    for (size_t i = 0; i < leaves.size(); ++i) {
      EXPECT_TRUE(at::equal(targets[i], expected[i].to(targets[i].scalar_type()))) << "leaf " << i;
    }
  }
  void expect_taken() const {
    for (const Tensor& leaf : leaves) EXPECT_FALSE(leaf.grad().defined());
  }
};

TEST(GradientGatherTest, GradientsAreTakenWhileTheyAreMadeAndKeepTheirBits) {
  for (const auto dtype : {at::kFloat, at::kBFloat16}) {
    for (const auto target_dtype : {dtype, at::kFloat}) {
      const GatheredLeaves all(dtype, target_dtype);
      GradientGather gather(all.leaves);
      for (const double scale : {1.0, 0.5, 2.0}) {
        gather.begin(all.targets);
        all.loss(scale).backward();
        all.expect_taken();
        gather.end();
        all.expect_targets(all.expected(scale));
      }
    }
  }
}

// As in a leaf: rounded to the leaf's dtype, wherever they go to.
TEST(GradientGatherTest, SeveralPassesAddUpAsAutogradDoes) {
  for (const auto dtype : {at::kFloat, at::kBFloat16}) {
    for (const auto target_dtype : {dtype, at::kFloat}) {
      const GatheredLeaves all(dtype, target_dtype);
      GradientGather gather(all.leaves);
      for (const double scale : {1.0, 0.7, 2.0}) all.loss(scale).backward();
      std::vector<Tensor> expected;
      for (const Tensor& leaf : all.leaves) expected.push_back(leaf.grad().clone());
      gather.drop();
      gather.begin(all.targets);
      for (const double scale : {1.0, 0.7, 2.0}) all.loss(scale).backward();
      gather.end();
      all.expect_targets(expected);
    }
  }
}

TEST(GradientGatherTest, LeavesThatTookNoPartAreZeroAndNothingIsLeftOfAPassBefore) {
  const GatheredLeaves all(at::kFloat, at::kFloat);
  GradientGather gather(all.leaves);
  gather.begin(all.targets);
  all.loss(1).backward();
  gather.begin(all.targets);  // the pass before has failed
  (all.leaves[3] * 2).sum().backward();
  gather.end();
  for (size_t i = 0; i < all.leaves.size(); ++i) {
    EXPECT_TRUE(at::equal(all.targets[i], at::full_like(all.targets[i], i == 3 ? 2 : 0)));
  }
  gather.begin(all.targets);
  all.loss(1).backward();
  gather.drop();
  EXPECT_THROW(gather.end(), std::invalid_argument);
}

TEST(GradientGatherTest, PassesOfSeveralThreadsShareOne) {
  const GatheredLeaves all(at::kFloat, at::kFloat);
  GradientGather gather(all.leaves);
  constexpr size_t kThreads = 4;
  gather.begin(all.targets);
  std::vector<std::thread> threads;
  for (size_t thread = 0; thread < kThreads; ++thread) {
    threads.emplace_back([&, thread] {
      for (size_t i = thread; i < all.leaves.size(); i += kThreads) {
        all.leaves[i].sin().sum().backward();
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  all.expect_taken();
  gather.end();
  all.expect_targets(all.expected(1));
}

TEST(GradientGatherTest, OutsideOfBeginAndEndGradientsStayInTheLeaves) {
  const GatheredLeaves all(at::kFloat, at::kFloat);
  auto gather = std::make_unique<GradientGather>(all.leaves);
  const auto expect_in_leaves = [&] {
    all.loss(1).backward();
    const std::vector<Tensor> expected = all.expected(1);
    for (size_t i = 0; i < all.leaves.size(); ++i) {
      EXPECT_TRUE(at::equal(all.leaves[i].grad(), expected[i])) << "leaf " << i;
      all.leaves[i].mutable_grad() = Tensor();
    }
  };
  expect_in_leaves();
  gather->begin(all.targets);
  gather->end();
  expect_in_leaves();
  gather->begin(all.targets);
  gather.reset();
  expect_in_leaves();
}

TEST(GradientGatherTest, TheLastOneOfSomeLeavesHasTheHooksAndTheOthersFindTheGradients) {
  const GatheredLeaves all(at::kFloat, at::kFloat);
  GradientGather first(all.leaves);
  GradientGather second(all.leaves);
  for (GradientGather* gather : {&first, &second, &first}) {
    for (const Tensor& target : all.targets) target.fill_(7);
    gather->begin(all.targets);
    all.loss(1).backward();
    gather->end();
    all.expect_taken();
    all.expect_targets(all.expected(1));
  }
}

}  // namespace
}  // namespace ddpm
