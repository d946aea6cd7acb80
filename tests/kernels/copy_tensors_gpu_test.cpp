#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <vector>

#include "ddpm/kernels/copy_tensors.h"

namespace ddpm {
namespace {

TEST(CopyTensorsGpuTest, EachGoesWhereItBelongsAndNothingElseChanges) {
  if (!at::hasCUDA()) GTEST_SKIP() << "no GPU, or a LibTorch without CUDA";
  at::manual_seed(0);
  const auto options = at::TensorOptions(at::kCUDA).dtype(at::kBFloat16);
  const Tensor flat = at::full({1 << 20}, -7, options);
  std::vector<Tensor> from, to;
  int64_t first = 8;
  for (int i = 0; i < 150; ++i) {  // more than one launch takes, some not at multiples of 16 bytes
    const Tensor map = at::randn({1 + i % 7, 3, 5, 1 + i}, options);
    from.push_back(i % 3 == 0 ? map.contiguous(at::MemoryFormat::ChannelsLast) : map);
    to.push_back(
        flat.narrow(/*dim=*/0, first, map.numel()).as_strided(map.sizes(), from.back().strides()));
    first += map.numel() + (i % 2 == 0 ? 8 - map.numel() % 8 : 1);
  }
  copy_tensors(from, to);
  int64_t copied = 0;
  for (size_t i = 0; i < from.size(); ++i) {
    EXPECT_TRUE(at::equal(to[i], from[i])) << i;
    copied += from[i].numel();
  }
  EXPECT_EQ(flat.eq(-7).sum().item<int64_t>(), flat.numel() - copied);
  const Tensor turned = at::zeros({4, 6}, options).t();  // no copy of bytes
  const Tensor values = at::randn({6, 4}, options);
  copy_tensors({values, from[0]}, {turned, to[0]});
  EXPECT_TRUE(at::equal(turned, values));
}

}  // namespace
}  // namespace ddpm
