#include "ddpm/kernels/put_rows.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <stdexcept>

namespace ddpm {
namespace {

TEST(PutRowsTest, RowsGoToTheirPlacesAndNoOthersChange) {
  const Tensor table = at::arange(12, at::kFloat).view({4, 3});
  const Tensor values = at::full({2, 3}, -1.0);
  put_rows(table, at::tensor({3, 1}, at::kLong), values);
  EXPECT_TRUE(at::equal(table.select(0, 0), at::tensor({0.0F, 1.0F, 2.0F})));
  EXPECT_TRUE(at::equal(table.select(0, 2), at::tensor({6.0F, 7.0F, 8.0F})));
  EXPECT_TRUE(table.select(0, 1).eq(-1).all().item<bool>());
  EXPECT_TRUE(table.select(0, 3).eq(-1).all().item<bool>());
}

TEST(PutRowsTest, WhatDoesNotFitIsRefused) {
  const Tensor table = at::zeros({4, 3}), rows = at::tensor({0, 1}, at::kLong);
  EXPECT_THROW(put_rows(table, rows, at::zeros({2, 4})), std::invalid_argument);
  EXPECT_THROW(put_rows(table, rows, at::zeros({3, 3})), std::invalid_argument);
  EXPECT_THROW(put_rows(table, rows, at::zeros({2, 3}, at::kDouble)), std::invalid_argument);
  EXPECT_THROW(put_rows(table, rows.to(at::kInt), at::zeros({2, 3})), std::invalid_argument);
  EXPECT_THROW(put_rows(table.t(), rows, at::zeros({2, 4})), std::invalid_argument);
}

TEST(PutRowsTest, RowsAreTakenInTheOrderOfTheirPlaces) {
  const Tensor table = at::arange(12, at::kFloat).view({4, 3});
  EXPECT_TRUE(at::equal(take_rows(table, at::tensor({3, 0, 3}, at::kLong)).flatten(),
                        at::tensor({9.0F, 10.0F, 11.0F, 0.0F, 1.0F, 2.0F, 9.0F, 10.0F, 11.0F})));
  EXPECT_THROW(take_rows(table.t(), at::tensor({0}, at::kLong)), std::invalid_argument);
  EXPECT_THROW(take_rows(table, at::tensor({0.5F})), std::invalid_argument);
}

}  // namespace
}  // namespace ddpm
