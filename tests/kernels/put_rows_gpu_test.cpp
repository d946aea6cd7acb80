#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <vector>

#include "ddpm/kernels/put_rows.h"

namespace ddpm {
namespace {

TEST(PutRowsGpuTest, ItIsIndexCopy) {
  if (!at::hasCUDA()) GTEST_SKIP() << "no GPU, or a LibTorch without CUDA";
  at::manual_seed(0);
  const std::vector<std::vector<int64_t>> rows_of{{3, 32, 32}, {5, 7}, {}, {1}, {3, 128, 128}};
  for (const auto type : {at::kFloat, at::kBFloat16, at::kByte}) {
    for (std::vector<int64_t> sizes : rows_of) {
      sizes.insert(sizes.begin(), 40);
      const auto options = at::TensorOptions(at::kCUDA).dtype(type);
      const Tensor table = at::randint(0, 100, sizes, options), expected = table.clone();
      const Tensor rows =
          at::randperm(40, at::TensorOptions(at::kCUDA).dtype(at::kLong)).slice(0, 0, 17);
      sizes.front() = 17;
      const Tensor values = at::randint(100, 200, sizes, options);
      put_rows(table, rows, values);
      expected.index_copy_(/*dim=*/0, rows, values);
      EXPECT_TRUE(at::equal(table, expected)) << type << " " << at::IntArrayRef(sizes);
      EXPECT_TRUE(at::equal(take_rows(table, rows), values));
    }
  }
}

TEST(PutRowsGpuTest, ValuesOfOtherStridesAndPartsOfATableAreTaken) {
  if (!at::hasCUDA()) GTEST_SKIP() << "no GPU, or a LibTorch without CUDA";
  const auto options = at::TensorOptions(at::kCUDA).dtype(at::kFloat);
  const Tensor whole = at::zeros({10, 5}, options), table = whole.slice(0, 1, 9);
  const Tensor rows = at::arange(7, options.dtype(at::kLong));
  const Tensor values = at::randn({5, 7}, options).t();
  put_rows(table, rows, values);
  EXPECT_TRUE(at::equal(whole.slice(0, 1, 8), values));
  EXPECT_TRUE(whole[0].eq(0).all().item<bool>() && whole.slice(0, 8).eq(0).all().item<bool>());
}

}  // namespace
}  // namespace ddpm
