#include "ddpm/core/device.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <stdexcept>
#include <string>
#include <thread>

#include "ddpm/core/amx.h"

namespace ddpm {
namespace {

TEST(DeviceTest, AutoIsTheGpuWhereThereIsOne) {
  EXPECT_EQ(select_device("cpu"), at::Device(at::kCPU));
  EXPECT_EQ(select_device("auto").is_cuda(), at::hasCUDA());
}

TEST(DeviceTest, UnknownNamesAreTheCallersMistake) {
  for (const std::string name :
       {"", "gpu", "cuda:", "cuda:x", "cuda:-1", "cuda:1x", "CPU", "cpu:0", "cuda:99999999999"}) {
    try {
      select_device(name);
      FAIL() << "expected std::invalid_argument for " << name;
    } catch (const std::invalid_argument& error) {
      EXPECT_EQ(error.what(),
                "[select_device] unknown device: expected auto, cpu, cuda or cuda:N, "
                "got '" +
                    name + "'");
    }
  }
}

TEST(DeviceTest, AGpuThatIsNotThereIsTheMachinesFault) {
  EXPECT_THROW(select_device("cuda:999"), std::runtime_error);
  if (at::hasCUDA()) {
    EXPECT_EQ(select_device("cuda"), at::Device(at::kCUDA, 0));
  } else {
    EXPECT_THROW(select_device("cuda"), std::runtime_error);
  }
}

TEST(DeviceTest, ConfigureCpuSetsThreadsAndFlushesDenormals) {
  configure_cpu(1);
  EXPECT_EQ(at::get_num_threads(), 1);
  configure_cpu(2);
  EXPECT_EQ(at::get_num_threads(), 2);
  configure_cpu(0);
  EXPECT_EQ(at::get_num_threads(), 2);
  EXPECT_THROW(configure_cpu(-1), std::invalid_argument);
  const Tensor tiny = at::full({1}, 1e-38, at::kFloat);
  EXPECT_EQ((tiny * 1e-3).item<float>(), 0.0F);
}

// Of devices alone: no GPU is asked for anything.
TEST(DeviceTest, AFewThreadsWorkBesideAGpuUnlessTheirNumberIsChosen) {
  const at::Device gpu(at::kCUDA, 0);
  unsetenv("OMP_NUM_THREADS");
  configure_cpu(6);
  limit_threads_beside(at::kCPU, /*threads=*/0);
  limit_threads_beside(gpu, /*threads=*/6);
  EXPECT_EQ(at::get_num_threads(), 6);
  setenv("OMP_NUM_THREADS", "6", /*overwrite=*/1);
  limit_threads_beside(gpu, /*threads=*/0);
  EXPECT_EQ(at::get_num_threads(), 6);
  unsetenv("OMP_NUM_THREADS");
  limit_threads_beside(gpu, /*threads=*/0);
  EXPECT_EQ(at::get_num_threads(), 4);
  configure_cpu(2);
  limit_threads_beside(gpu, /*threads=*/0);
  EXPECT_EQ(at::get_num_threads(), 2);
}

TEST(DeviceTest, AThreadThatComputesAloneLeavesTheOthersTheirTeams) {
#ifndef _OPENMP
  GTEST_SKIP() << "built without OpenMP: no thread has a team";
#endif
  configure_cpu(2);
  std::thread([] {
    compute_in_this_thread_alone();
    EXPECT_EQ(at::get_num_threads(), 1);
    at::parallel_for(0, 4, 1, [](int64_t begin, int64_t end) {
      EXPECT_EQ(begin, 0);
      EXPECT_EQ(end, 4);
    });
  }).join();
  EXPECT_EQ(at::get_num_threads(), 2);
  std::thread([] { EXPECT_EQ(at::get_num_threads(), 2); }).join();
}

TEST(DeviceTest, ACpuThatPrefersBf16ComputesIt) {
  EXPECT_LE(prefers_bf16(at::kCPU), cpu_computes_bf16());
  EXPECT_LE(cpu_has_amx(), prefers_bf16(at::kCPU));
}

}  // namespace
}  // namespace ddpm
