#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <limits>
#include <vector>

#include "ddpm/kernels/call_inputs.h"

namespace ddpm {
namespace {

/// Whether every input arrives, rounded as copy_() rounds, where the room held NaN and -1.
bool arrive(const CallInputs& from, at::ScalarType dtype, at::MemoryFormat format) {
  CallInputs to{.x = at::full(from.x.sizes(), std::numeric_limits<double>::quiet_NaN(),
                              from.x.options().dtype(dtype).memory_format(format)),
                .t = at::full_like(from.t, -1),
                .class_labels =
                    from.class_labels.defined() ? at::full_like(from.class_labels, -1) : Tensor()};
  copy_call_inputs(from, to);
  return at::equal(to.x, from.x.to(dtype)) && at::equal(to.t, from.t) &&
         (!from.class_labels.defined() || at::equal(to.class_labels, from.class_labels));
}

TEST(CallInputsGpuTest, InputsArriveWhateverTheirShapesStridesAndDtypes) {
  if (!at::hasCUDA()) GTEST_SKIP() << "no GPU, or a LibTorch without CUDA";
  at::manual_seed(0);
  const auto options = at::TensorOptions(at::kCUDA);
  for (const std::vector<int64_t>& sizes :
       {std::vector<int64_t>{1, 3, 32, 32}, {67, 3, 32, 32}, {2, 1, 5, 7}, {300, 6, 1, 1}}) {
    const Tensor x = at::randn(sizes, options),
                 t = at::randint(1000, {sizes[0]}, options).to(at::kLong);
    const Tensor labels = at::randint(10, {sizes[0]}, options).to(at::kLong);
    for (const Tensor& map : {x, x.contiguous(at::MemoryFormat::ChannelsLast), x.to(at::kBFloat16),
                              x.transpose(2, 3).contiguous().transpose(2, 3)}) {
      for (const auto dtype : {at::kBFloat16, at::kFloat}) {
        EXPECT_TRUE(
            arrive({.x = map, .t = t, .class_labels = {}}, dtype, at::MemoryFormat::ChannelsLast))
            << map.sizes() << map.strides() << dtype;
        EXPECT_TRUE(arrive({.x = map, .t = t.to(at::kFloat), .class_labels = labels}, dtype,
                           at::MemoryFormat::ChannelsLast));
        EXPECT_TRUE(arrive({.x = map, .t = t, .class_labels = labels}, dtype,
                           at::MemoryFormat::Contiguous));
      }
    }
  }
}

}  // namespace
}  // namespace ddpm
