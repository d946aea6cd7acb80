#include "ddpm/kernels/call_inputs.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

namespace ddpm {
namespace {

TEST(CallInputsTest, InputsAreCopiedAndXIsRounded) {
  const Tensor x = at::full({2, 3, 4, 4}, 1.001), t = at::tensor({7, 8}, at::kLong);
  const CallInputs to{.x = at::zeros({2, 3, 4, 4}, at::kBFloat16), .t = at::zeros_like(t)};
  copy_call_inputs({.x = x, .t = t, .class_labels = {}}, to);
  EXPECT_TRUE(at::equal(to.x, at::ones({2, 3, 4, 4}, at::kBFloat16)));
  EXPECT_TRUE(at::equal(to.t, t));
  const CallInputs labelled{.x = to.x, .t = to.t, .class_labels = at::zeros_like(t)};
  copy_call_inputs({.x = x, .t = t, .class_labels = t}, labelled);
  EXPECT_TRUE(at::equal(labelled.class_labels, t));
}

}  // namespace
}  // namespace ddpm
