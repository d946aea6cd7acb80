#include "ddpm/training/loss_history.h"

#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <deque>
#include <numeric>
#include <vector>

#include "support/host_reads.h"
#include "support/tensor_matchers.h"

namespace ddpm {
namespace {

using testing::host_reads;
using ::testing::IsEmpty;
using testing::tensors_near;

Tensor yes() { return at::ones({}, at::kBool); }

Tensor evenly(int64_t n) { return (at::arange(n, at::kDouble) + 0.5) / n; }

/// A history that is full, with `root_mean_square[t]` for timestep t.
LossHistory full_history(const std::vector<double>& root_mean_square) {
  LossHistory history = make_loss_history(static_cast<int64_t>(root_mean_square.size()), at::kCPU);
  for (size_t t = 0; t < root_mean_square.size(); ++t) {
    history.losses[static_cast<int64_t>(t)].fill_(root_mean_square[t]);
  }
  history.counts.fill_(kHistoryLength);
  return history;
}

// The rule as the paper's code has it: one loss after the other into a queue of ten.
TEST(LossHistoryTest, HoldsTheLastTenLossesOfEachTimestep) {
  at::manual_seed(0);
  LossHistory history = make_loss_history(5, at::kCPU);
  std::vector<std::deque<float>> queues(5);
  for (int batch = 0; batch < 6; ++batch) {
    // 40 losses over 5 timesteps, most of them for one: its ring goes round within a batch.
    const Tensor t = at::where(at::rand({40}) < 0.5, at::full({40}, 3, at::kLong),
                               at::randint(5, {40}, at::kLong));
    const Tensor losses = at::rand({40});
    add_to_history(history, t, losses, yes());
    for (int64_t i = 0; i < 40; ++i) {
      auto& queue = queues[static_cast<size_t>(t[i].item<int64_t>())];
      queue.push_back(losses[i].item<float>());
      if (queue.size() > kHistoryLength) queue.pop_front();
    }
  }
  for (int64_t t = 0; t < 5; ++t) {
    std::vector<float> expected(queues[static_cast<size_t>(t)].begin(),
                                queues[static_cast<size_t>(t)].end());
    const Tensor row = std::get<0>(history.losses[t].sort());
    std::sort(expected.begin(), expected.end());
    EXPECT_TRUE(tensors_near(row, at::tensor(expected), 0)) << t;
  }
  EXPECT_EQ(history.counts.sum().item<int64_t>(), 240);
}

TEST(LossHistoryTest, DrawsUniformlyUntilEveryTimestepHasTenLosses) {
  LossHistory history = full_history({1, 50, 3, 4});
  history.counts[2].fill_(kHistoryLength - 1);
  const WeightedTimesteps chosen = choose_timesteps(history, evenly(400));
  EXPECT_TRUE(at::equal(chosen.t, at::arange(400).div(100, "floor")));
  EXPECT_TRUE(tensors_near(chosen.weights, at::ones({400}), 0));
}

// [IDDPM Sec. 3.3] p_t ~ sqrt(E[L_t^2]), a thousandth of it uniform; weights 1 / (T p_t).
TEST(LossHistoryTest, DrawsByTheRootMeanSquareOnceFull) {
  LossHistory history = full_history({1, 2, 3, 4});
  history.losses[0].copy_(at::tensor({0.5, 1.5, 0.5, 1.5, 0.5, 1.5, 0.5, 1.5, 0.5, 1.5}));
  const double roots[] = {std::sqrt(1.25), 2, 3, 4};
  const int64_t draws = 100'000;
  const WeightedTimesteps chosen = choose_timesteps(history, evenly(draws));
  for (int64_t t = 0; t < 4; ++t) {
    const double p = 0.999 * roots[t] / (roots[0] + 9) + 0.001 / 4;
    const Tensor is_t = chosen.t == t;
    EXPECT_NEAR(is_t.sum().item<double>() / draws, p, 2e-5) << t;
    EXPECT_TRUE(tensors_near(chosen.weights.masked_select(is_t),
                             at::full({1}, 1 / (4 * p)).expand({is_t.sum().item<int64_t>()}),
                             1e-6));
  }
  EXPECT_NEAR(chosen.weights.to(at::kDouble).mean().item<double>(), 1, 1e-4);
}

TEST(LossHistoryTest, EveryTimestepStaysPossible) {
  const WeightedTimesteps chosen = choose_timesteps(full_history({0, 0, 1, 0}), evenly(8000));
  for (const int64_t t : {0, 1, 3}) EXPECT_EQ((chosen.t == t).sum().item<int64_t>(), 2) << t;
  const WeightedTimesteps none = choose_timesteps(full_history({0, 0, 0, 0}), evenly(400));
  EXPECT_EQ((none.t == 3).sum().item<int64_t>(), 100);
  const Tensor last = at::full({1}, 1 - 0x1p-53, at::kDouble);
  EXPECT_EQ(choose_timesteps(full_history({1, 1, 1, 0}), last).t.item<int64_t>(), 3);
}

TEST(LossHistoryTest, KeepsItsStorageAndReadsNothingOnTheHost) {
  LossHistory history = make_loss_history(7, at::kCPU);
  const void* storage = history.losses.const_data_ptr();
  const Tensor t = at::tensor({1, 1, 6}, at::kLong);
  EXPECT_THAT(host_reads([&] {
                add_to_history(history, t, at::ones({3}), yes());
                choose_timesteps(history, evenly(3));
              }),
              IsEmpty());
  EXPECT_EQ(history.losses.const_data_ptr(), storage);
  EXPECT_EQ(history.counts[1].item<int64_t>(), 2);
  add_to_history(history, t, at::full({3}, NAN), at::zeros({}, at::kBool));
  EXPECT_EQ(history.counts[1].item<int64_t>(), 2);
  EXPECT_FALSE(history.losses.isnan().any().item<bool>());
}

}  // namespace
}  // namespace ddpm
