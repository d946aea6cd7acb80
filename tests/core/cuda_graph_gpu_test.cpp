#include <ATen/ATen.h>
#include <c10/core/Event.h>
#include <c10/cuda/CUDAException.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>
#include <gtest/gtest.h>

#include <functional>
#include <vector>

#include "ddpm/core/cuda_graph.h"
#include "ddpm/core/tensor.h"

namespace ddpm {
namespace {

constexpr int64_t kReplays = 5;
constexpr int64_t kReplayedBytes = int64_t{24} << 20;

/// Bytes of a GPU that fills and copies change, with kernels between them, so that no two steps may
/// change places.
struct Steps {
  Tensor bytes;  // [kReplayedBytes] uint8

  unsigned char* at(int64_t place) const { return bytes.data_ptr<uint8_t>() + place; }

  void fill(int64_t place, int value, int64_t size) const {
    C10_CUDA_CHECK(cudaMemsetAsync(at(place), value, static_cast<size_t>(size),
                                   c10::cuda::getCurrentCUDAStream()));
    bytes.mul_(3).add_(1);  // modulo 256
  }

  void copy(int64_t to, int64_t from, int64_t size) const {
    C10_CUDA_CHECK(cudaMemcpyAsync(at(to), at(from), static_cast<size_t>(size),
                                   cudaMemcpyDeviceToDevice, c10::cuda::getCurrentCUDAStream()));
    bytes.mul_(5).add_(7);
  }
};

/// Counts up, without a period that a wrong place could hide in.
Tensor counting_bytes(at::Device gpu) {
  const Tensor places = at::arange(kReplayedBytes, at::device(gpu).dtype(at::kLong));
  return places.add(places.div(251, "floor")).bitwise_and(255).to(at::kByte);
}

/// Expects that a captured work does what it does uncaptured, to the bit, time and again.
void expect_same_when_captured(const std::function<void(const Tensor&)>& work) {
  const at::Device gpu(at::kCUDA, 0);
  const Tensor expected = counting_bytes(gpu);
  const Tensor replayed = expected.clone();
  CudaGraph graph(gpu, [&] { work(replayed); });
  ASSERT_TRUE(at::equal(replayed, expected)) << "a capture runs nothing";
  for (int64_t replay = 0; replay < kReplays; ++replay) {
    work(expected);
    graph.replay();
    ASSERT_TRUE(at::equal(replayed, expected)) << "replay " << replay;
  }
}

TEST(CudaGraphGpuTest, FillsOfAnyPlaceAndSizeAreReplayed) {
  if (!at::hasCUDA()) GTEST_SKIP() << "no GPU, or a LibTorch without CUDA";
  expect_same_when_captured([](const Tensor& bytes) {
    const Steps steps{bytes};
    for (int64_t size : {1, 2, 3, 15, 16, 17, 31, 33, 4095, 4096, 100003}) {
      for (int64_t place : {0, 1, 7, 8, 15, 16, 4099}) {
        steps.fill(place, static_cast<int>((size + place) % 256), size);
      }
    }
    steps.fill(5, 0xee, (int64_t{9} << 20) + 11);  // more than all blocks write at once
    steps.fill(64, 0, int64_t{16} << 20);
  });
}

TEST(CudaGraphGpuTest, CopiesBetweenAnyPlacesAreReplayed) {
  if (!at::hasCUDA()) GTEST_SKIP() << "no GPU, or a LibTorch without CUDA";
  expect_same_when_captured([](const Tensor& bytes) {
    const Steps steps{bytes};
    for (int64_t size : {1, 3, 16, 33, 4096, 100003}) {
      for (int64_t to : {0, 1, 4, 13, 16}) {
        for (int64_t from : {0, 1, 8}) steps.copy(to, 200000 + from, size);
      }
    }
    constexpr int64_t kHalf = kReplayedBytes / 2;
    for (int64_t from : {0, 1, 4}) steps.copy(kHalf, from, kHalf - 5);
  });
}

TEST(CudaGraphGpuTest, FillsAndCopiesOfSeveralRowsAreReplayed) {
  if (!at::hasCUDA()) GTEST_SKIP() << "no GPU, or a LibTorch without CUDA";
  expect_same_when_captured([](const Tensor& bytes) {
    const Steps steps{bytes};
    const auto stream = c10::cuda::getCurrentCUDAStream();
    C10_CUDA_CHECK(cudaMemset2DAsync(steps.at(3), 100, 0x5a, 37, 20, stream));
    steps.fill(0, 1, 50);
    C10_CUDA_CHECK(cudaMemcpy2DAsync(steps.at(4000), 64, steps.at(0), 100, 33, 20,
                                     cudaMemcpyDeviceToDevice, stream));
    steps.copy(7, 4001, 999);
  });
}

TEST(CudaGraphGpuTest, NewTensorsOfZerosAreReplayed) {
  if (!at::hasCUDA()) GTEST_SKIP() << "no GPU, or a LibTorch without CUDA";
  expect_same_when_captured([](const Tensor& bytes) {
    int64_t place = 0;
    for (auto dtype : {at::kByte, at::kHalf, at::kBFloat16, at::kFloat, at::kDouble, at::kLong}) {
      for (int64_t count : {1, 7, 100003}) {
        const Tensor zeros = at::zeros({count}, at::device(bytes.device()).dtype(dtype));
        bytes.narrow(0, place, count).copy_(zeros.add_(place % 100));  // all dtypes hold these
        bytes.mul_(3).add_(1);
        place += count;
      }
    }
  });
}

TEST(CudaGraphGpuTest, FillsOfTwoStreamsAreReplayedInTheirOrder) {
  if (!at::hasCUDA()) GTEST_SKIP() << "no GPU, or a LibTorch without CUDA";
  const auto side_stream = c10::cuda::getStreamFromPool(/*isHighPriority=*/false, 0);
  expect_same_when_captured([&](const Tensor& bytes) {
    const std::vector<Tensor> halves = bytes.chunk(2);
    const auto stream = c10::cuda::getCurrentCUDAStream();
    c10::Event fork(at::kCUDA), join(at::kCUDA);
    Steps{halves[0]}.fill(1, 17, 3001);
    Steps{halves[1]}.fill(1, 18, 3001);
    fork.record(stream.unwrap());
    fork.block(side_stream.unwrap());
    {
      const c10::cuda::CUDAStreamGuard guard(side_stream);
      Steps{halves[1]}.fill(3, 19, 1 << 20);
      Steps{halves[1]}.copy(5, int64_t{3} << 20, 1 << 20);
      join.record(side_stream.unwrap());
    }
    Steps{halves[0]}.fill(2, 20, 1 << 21);
    join.block(stream.unwrap());
    C10_CUDA_CHECK(cudaMemsetAsync(halves[0].data_ptr(), 21, 99, stream));  // after both
    halves[1].add_(halves[0]);
    halves[0].add_(halves[1]);
  });
}

}  // namespace
}  // namespace ddpm
