#include "ddpm/sampling/linear_operator.h"

#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <stdexcept>
#include <vector>

#include "support/tensor_matchers.h"

namespace ddpm {
namespace {

using ::testing::HasSubstr;
using testing::tensors_near;
using ::testing::ThrowsMessage;

TEST(LinearOperatorTest, RowsAreOrthogonalAndAsLongAsTheSingularValueSays) {
  Tensor kept = at::ones({1, 1, 4, 4});
  kept.narrow(3, 1, 2).zero_();
  const Tensor basis = at::eye(48).view({48, 3, 4, 4});
  for (const LinearOperator& op :
       {box_reduction(1), box_reduction(2), box_reduction(4), channel_mean(3), pixel_mask(kept)}) {
    const Tensor a = op.apply(basis).flatten(1).t();  // [outputs, 48]
    const Tensor rows = a.index({a.abs().sum(1) > 0});
    EXPECT_TRUE(tensors_near(rows.mm(rows.t()),
                             at::eye(rows.size(0)) * op.singular_value * op.singular_value, 1e-6));
    // The pseudo-inverse as LibTorch has it, by the singular value decomposition.
    const Tensor pseudo = at::linalg_pinv(a.to(at::kDouble)).to(at::kFloat);
    const Tensor y = op.apply(at::randn({5, 3, 4, 4}));
    EXPECT_TRUE(tensors_near(op.pseudo_inverse(y).flatten(1), y.flatten(1).mm(pseudo.t()), 1e-5));
  }
}

TEST(LinearOperatorTest, SizesThatDoNotFitAreRefused) {
  using Error = std::invalid_argument;
  EXPECT_THAT([] { box_reduction(0); }, ThrowsMessage<Error>(HasSubstr("factor")));
  EXPECT_THAT(
      [] {
        box_reduction(3).apply(at::zeros({1, 1, 4, 4}));
      },
      ThrowsMessage<Error>(HasSubstr("multiples of 3")));
  EXPECT_THAT([] { channel_mean(0); }, ThrowsMessage<Error>(HasSubstr("channels")));
  EXPECT_THAT(
      [] {
        channel_mean(3).apply(at::zeros({1, 1, 4, 4}));
      },
      ThrowsMessage<Error>(HasSubstr("3 channels")));
  EXPECT_THAT(
      [] {
        pixel_mask(at::full({1, 1, 2, 2}, 0.5));
      },
      ThrowsMessage<Error>(HasSubstr("0 and 1 only")));
}

}  // namespace
}  // namespace ddpm
