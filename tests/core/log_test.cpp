#include "ddpm/core/log.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace ddpm {
namespace {

using ::testing::MatchesRegex;
using ::testing::internal::CaptureStderr;
using ::testing::internal::GetCapturedStderr;

TEST(LogTest, ALineHasTimeLevelAndTheMessageAsItIs) {
  CaptureStderr();
  log_info("100% {} of %s");
  EXPECT_THAT(GetCapturedStderr(), MatchesRegex("..:..:.. info: 100% \\{\\} of %s\n"));
  CaptureStderr();
  log_warn("careful");
  EXPECT_THAT(GetCapturedStderr(), MatchesRegex("..:..:.. warning: careful\n"));
}

TEST(LogTest, LinesBelowTheLevelAreDropped) {
  set_log_level(LogLevel::kError);
  CaptureStderr();
  log_info("no");
  log_warn("no");
  log_error("yes");
  const std::string written = GetCapturedStderr();
  set_log_level(LogLevel::kInfo);
  EXPECT_THAT(written, MatchesRegex("..:..:.. error: yes\n"));
}

TEST(LogTest, OffDropsAll) {
  set_log_level(LogLevel::kOff);
  CaptureStderr();
  log_error("no");
  const std::string written = GetCapturedStderr();
  set_log_level(LogLevel::kInfo);
  EXPECT_EQ(written, "");
}

}  // namespace
}  // namespace ddpm
