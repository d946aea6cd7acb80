#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <vector>

#include "ddpm/core/device_upload.h"

namespace ddpm {
namespace {

constexpr int64_t kSends = 40;

/// What keeps the current stream of a GPU busy far longer than an upload takes.
void keep_busy(Tensor& matrix) {
  for (int64_t i = 0; i < 4; ++i) matrix = at::tanh(at::mm(matrix, matrix));
}

/// Values of a send: large enough that their copy takes time, and each its own.
std::vector<Tensor> values_of(int64_t send) {
  return {at::full({1 << 20}, 2 * send + 1, at::kFloat), at::arange(3, at::kLong) + send,
          at::scalar_tensor(send, at::kDouble),
          at::full({8, 3, 5, 4}, send, at::kByte).contiguous(at::MemoryFormat::ChannelsLast)};
}

// Without each of the waits the device would read a later send's values, or half of each: the host
// and the copies are far ahead of the stream that computes.
TEST(DeviceUploadGpuTest, WorkReadsTheValuesThatWereSentBeforeIt) {
  if (!at::hasCUDA()) GTEST_SKIP() << "no GPU, or a LibTorch without CUDA";
  const at::Device gpu(at::kCUDA, 0);
  DeviceUpload upload(gpu);
  Tensor matrix = at::randn({4096, 4096}, at::TensorOptions(gpu));
  std::vector<std::vector<Tensor>> read;
  for (int64_t send = 0; send < kSends; ++send) {
    std::vector<Tensor> values = values_of(send);
    const std::vector<Tensor> sent = upload.send(values);
    for (Tensor& value : values) value.zero_();  // the host goes on with its memory
    if (send % 3 != 2) keep_busy(matrix);        // sometimes three sends come at once
    read.emplace_back();
    for (const Tensor& tensor : sent) read.back().push_back(tensor.clone());
  }
  for (int64_t send = 0; send < kSends; ++send) {
    const std::vector<Tensor> expected = values_of(send);
    for (size_t i = 0; i < expected.size(); ++i) {
      EXPECT_TRUE(at::equal(read[static_cast<size_t>(send)][i].cpu(), expected[i]))
          << "value " << i << " of send " << send;
    }
  }
}

TEST(DeviceUploadGpuTest, TensorsStayWhereTheyAre) {
  if (!at::hasCUDA()) GTEST_SKIP() << "no GPU, or a LibTorch without CUDA";
  const at::Device gpu(at::kCUDA, 0);
  DeviceUpload upload(gpu);
  const std::vector<Tensor> first = upload.send(values_of(0));
  for (int64_t send = 1; send < 5; ++send) {
    const std::vector<Tensor> sent = upload.send(values_of(send));
    for (size_t i = 0; i < sent.size(); ++i) {
      EXPECT_EQ(sent[i].data_ptr(), first[i].data_ptr());
      EXPECT_TRUE(sent[i].is_cuda());
    }
    EXPECT_TRUE(at::equal(first[1].cpu(), values_of(send)[1]));
  }
  EXPECT_THROW(upload.send(first), std::invalid_argument) << "values of the device";
}

}  // namespace
}  // namespace ddpm
