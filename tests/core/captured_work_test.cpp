#include "ddpm/core/captured_work.h"

#include <gtest/gtest.h>

#include <stdexcept>

namespace ddpm {
namespace {

TEST(CapturedWorkTest, OnACpuWorkRunsAsItIsEachTime) {
  CapturedWork work("test", at::kCPU, /*warm_up_runs=*/1);
  int runs = 0;
  for (int i = 0; i < 5; ++i) work.run([&] { ++runs; });
  EXPECT_EQ(runs, 5);
  EXPECT_FALSE(work.is_captured());
}

TEST(CapturedWorkTest, WorkIsWarmedUpBeforeItIsCaptured) {
  EXPECT_THROW(CapturedWork("test", at::kCPU, /*warm_up_runs=*/0), std::invalid_argument);
}

}  // namespace
}  // namespace ddpm
