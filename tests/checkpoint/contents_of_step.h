#pragma once

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "ddpm/checkpoint/checkpoint_folder.h"

namespace ddpm::testing {

/// A checkpoint whose every part says the step it belongs to.
inline CheckpointContents contents_of_step(std::int64_t step) {
  // Too few elements for LibTorch to start threads, which a forked process could not join.
  constexpr std::int64_t elements = 20'000;
  const auto value = static_cast<float>(step % 1'000'000);
  CheckpointContents contents;
  contents.weights = {{"w", at::full({elements}, value)}};
  contents.ema = {{"w", at::full({elements}, value + 0.25F)}};
  contents.optimizer = {{"m", at::full({elements}, value + 0.5F)},
                        {"step", at::full({1}, step, at::kLong)}};
  contents.state = {{"step", step}};
  contents.recipe = {{"train", {{"steps", 10}}}};
  return contents;
}

inline void expect_contents_of_step(const CheckpointContents& got, std::int64_t step) {
  const CheckpointContents expected = contents_of_step(step);
  const auto expect_same = [](const NamedTensors& a, const NamedTensors& b) {
    ASSERT_EQ(a.size(), b.size());
    for (const auto& [name, tensor] : a) {
      for (const auto& [other_name, other] : b) {
        if (name == other_name) {
          EXPECT_TRUE(at::equal(tensor, other)) << name;
        }
      }
    }
  };
  expect_same(got.weights, expected.weights);
  expect_same(got.ema, expected.ema);
  expect_same(got.optimizer, expected.optimizer);
  EXPECT_EQ(got.state, expected.state);
  EXPECT_EQ(got.recipe, expected.recipe);
}

}  // namespace ddpm::testing
