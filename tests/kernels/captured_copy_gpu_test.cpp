#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <vector>

#include "ddpm/core/captured_work.h"
#include "ddpm/kernels/captured_copy.h"

namespace ddpm {
namespace {

CallInputs room_for(const CallInputs& inputs) {
  return {.x = at::zeros_like(inputs.x, inputs.x.options().dtype(at::kBFloat16),
                              at::MemoryFormat::ChannelsLast),
          .t = at::zeros_like(inputs.t),
          .class_labels = at::zeros_like(inputs.class_labels)};
}

TEST(CapturedCopyGpuTest, ReplaysCopyWhatTheyWereBoundToLast) {
  if (!at::hasCUDA()) GTEST_SKIP() << "no GPU, or a LibTorch without CUDA";
  at::manual_seed(0);
  const auto options = at::TensorOptions(at::kCUDA);
  const auto labels_of = [&](int64_t most) {
    return at::randint(most, {3}, options).to(at::kLong);
  };
  std::vector<CallInputs> calls, rooms;
  for (int i = 0; i < 5; ++i) {
    Tensor x = at::randn({3, 3, 8, 8}, options);
    if (i % 2 == 1) x = x.contiguous(at::MemoryFormat::ChannelsLast);  // other strides
    calls.push_back({.x = x, .t = labels_of(1000), .class_labels = labels_of(10)});
    rooms.push_back(room_for(calls.back()));
  }
  CapturedCopy copy;
  CapturedWork work("CapturedCopyGpuTest", at::Device(at::kCUDA, 0), /*warm_up_runs=*/1);
  for (size_t i = 0; i < calls.size(); ++i) {
    ASSERT_TRUE(CapturedCopy::takes(calls[i], rooms[i])) << i;
    if (CudaGraph* const graph = work.graph()) copy.rebind(*graph, calls[i], rooms[i]);
    work.run([&] { copy.copy(calls[i], rooms[i]); });
  }
  EXPECT_TRUE(work.is_captured());
  for (size_t i = 0; i < calls.size(); ++i) {
    EXPECT_TRUE(at::equal(rooms[i].x, calls[i].x.to(at::kBFloat16))) << i;
    EXPECT_TRUE(at::equal(rooms[i].t, calls[i].t)) << i;
    EXPECT_TRUE(at::equal(rooms[i].class_labels, calls[i].class_labels)) << i;
  }
}

}  // namespace
}  // namespace ddpm
