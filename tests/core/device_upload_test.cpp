#include "ddpm/core/device_upload.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <stdexcept>
#include <vector>

namespace ddpm {
namespace {

TEST(DeviceUploadTest, ValuesArriveInTensorsThatStay) {
  DeviceUpload upload(at::kCPU);
  std::vector<void*> addresses;
  for (int64_t step = 0; step < 5; ++step) {
    const std::vector<Tensor> values{
        at::full({2, 3}, step, at::kFloat), at::scalar_tensor(2 * step + 1, at::kDouble),
        at::arange(5, at::kLong) == step, at::full({3}, step, at::kByte), at::arange(7) * step};
    const std::vector<Tensor> sent = upload.send(values);
    ASSERT_EQ(sent.size(), values.size());
    for (size_t i = 0; i < sent.size(); ++i) {
      EXPECT_TRUE(at::equal(sent[i], values[i])) << i;
      EXPECT_EQ(sent[i].scalar_type(), values[i].scalar_type());
      if (step == 0) addresses.push_back(sent[i].data_ptr());
      EXPECT_EQ(sent[i].data_ptr(), addresses[i]);
      EXPECT_NE(sent[i].data_ptr(), values[i].data_ptr());
    }
  }
}

TEST(DeviceUploadTest, DenseStridesAreKept) {
  DeviceUpload upload(at::kCPU);
  const Tensor maps =
      at::rand({2, 3, 4, 5}).contiguous(at::MemoryFormat::ChannelsLast);  // and every second row
  const std::vector<Tensor> sent = upload.send({maps, maps.slice(/*dim=*/2, 0, 4, 2)});
  EXPECT_EQ(sent[0].strides(), maps.strides());
  EXPECT_TRUE(at::equal(sent[0], maps));
  EXPECT_TRUE(at::equal(sent[1], maps.slice(/*dim=*/2, 0, 4, 2)));
  const Tensor rows = at::rand({2, 3, 4, 5});
  upload.send({rows, rows.slice(/*dim=*/2, 1, 4, 2)});
  EXPECT_EQ(sent[0].strides(), maps.strides());
  EXPECT_TRUE(at::equal(sent[0], rows));
  EXPECT_TRUE(at::equal(sent[1], rows.slice(/*dim=*/2, 1, 4, 2)));
}

TEST(DeviceUploadTest, EverySendBringsTheSameTensors) {
  DeviceUpload upload(at::kCPU);
  const Tensor t = at::zeros({4}, at::kLong);
  upload.send({t, at::zeros({})});
  EXPECT_THROW(upload.send({t}), std::invalid_argument);
  EXPECT_THROW(upload.send({t, at::zeros({1})}), std::invalid_argument);
  EXPECT_THROW(upload.send({t.to(at::kInt), at::zeros({})}), std::invalid_argument);
}

}  // namespace
}  // namespace ddpm
