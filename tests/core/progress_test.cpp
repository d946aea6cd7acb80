#include "ddpm/core/progress.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <cmath>
#include <limits>
#include <sstream>

namespace ddpm {
namespace {

using nlohmann::json;
using ::testing::HasSubstr;
using ::testing::MatchesRegex;
using ::testing::Not;

/// A Progress that writes to a temporary file, under a clock that the test turns.
class ProgressTest : public ::testing::Test {
 protected:
  void SetUp() override { ASSERT_NE(file_, nullptr); }
  void TearDown() override { std::fclose(file_); }

  ProgressOptions options(ProgressStyle style, int64_t total = 100) {
    return {.total = total, .label = "train", .style = style, .out = file_, .now_seconds = [this] {
              return now_;
            }};
  }

  std::string written() {
    std::fflush(file_);
    std::rewind(file_);
    std::string text;
    for (int letter = std::fgetc(file_); letter != EOF; letter = std::fgetc(file_)) {
      text += static_cast<char>(letter);
    }
    return text;
  }

  std::vector<std::string> lines() {
    std::vector<std::string> found;
    std::istringstream text(written());
    for (std::string line; std::getline(text, line);) found.push_back(line);
    return found;
  }

  std::FILE* file_ = std::tmpfile();
  double now_ = 1000;
};

TEST_F(ProgressTest, PlainLinesComeAtIntervalsAndHaveRateTimeLeftAndFields) {
  Progress progress(options(ProgressStyle::kPlain));
  for (int64_t step = 1; step <= 50; ++step) {
    now_ += 0.5;
    progress.update(step, {{"loss", 0.25}, {"lr", 2e-4}});
  }
  now_ += 25;
  progress.update(100, {{"loss", 0.125}});
  progress.finish();
  const auto found = lines();
  ASSERT_EQ(found.size(), 4U);  // at 10, 20 and 50 seconds, and the last
  EXPECT_THAT(found[0], MatchesRegex("train 20/100  2.0 steps/s  ETA 0:40  loss 0.25  lr 0.0002  "
                                     "mem [0-9]+ MiB"));
  EXPECT_THAT(found[3], MatchesRegex("train 100/100  2.0 steps/s  took 0:50  loss 0.125  mem .*"));
}

TEST_F(ProgressTest, ATerminalsLineIsRedrawnAndEnded) {
  Progress progress(options(ProgressStyle::kTerminal));
  now_ += 1;
  progress.update(50);
  now_ += 0.05;
  progress.update(51);  // too soon
  now_ += 0.95;
  progress.finish();
  const std::string text = written();
  EXPECT_THAT(text, HasSubstr("\rtrain [##########----------] 50/100  50.0 steps/s  ETA 0:01"));
  EXPECT_THAT(text, HasSubstr("\rtrain [##########----------] 51/100"));
  EXPECT_EQ(std::count(text.begin(), text.end(), '\r'), 2);
  EXPECT_EQ(std::count(text.begin(), text.end(), '\n'), 1);
  EXPECT_TRUE(text.ends_with("\x1b[K\n"));
}

TEST_F(ProgressTest, AnOpenLineIsEndedByTheDestructor) {
  {
    Progress progress(options(ProgressStyle::kTerminal));
    now_ += 1;
    progress.update(1);
  }
  EXPECT_TRUE(written().ends_with("\x1b[K\n"));
}

TEST_F(ProgressTest, JsonIsOneObjectALine) {
  Progress progress(options(ProgressStyle::kJson));
  now_ += 2;
  progress.update(10, {{"loss", 0.5}});
  now_ += 1;
  progress.update(10, {{"loss", std::numeric_limits<double>::quiet_NaN()}});
  now_ += 7;
  progress.update(100, {{"loss", 0.25}});
  progress.finish();
  const auto found = lines();
  ASSERT_EQ(found.size(), 4U);
  const json first = json::parse(found[0]);
  EXPECT_EQ(first["event"], "progress");
  EXPECT_EQ(first["label"], "train");
  EXPECT_EQ(first["step"], 10);
  EXPECT_EQ(first["total"], 100);
  EXPECT_EQ(first["rate"], 5.0);
  EXPECT_EQ(first["eta_seconds"], 18.0);
  EXPECT_EQ(first["loss"], 0.5);
  EXPECT_GT(first["memory_bytes"], 0);
  EXPECT_TRUE(json::parse(found[1])["loss"].is_null());
  const json last = json::parse(found[3]);
  EXPECT_EQ(last["event"], "finished");
  EXPECT_EQ(last["elapsed_seconds"], 10.0);
  EXPECT_EQ(last["rate"], 10.0);
}

TEST_F(ProgressTest, TheRateFollowsTheLastSeconds) {
  Progress progress(options(ProgressStyle::kJson, 10'000));
  now_ += 10;
  progress.update(10);
  now_ += 10;
  progress.update(1010);
  EXPECT_EQ(json::parse(lines()[1])["rate"], 100.0);
}

TEST_F(ProgressTest, StepsThatWereDoneBeforeDoNotCountForTheRate) {
  auto resumed = options(ProgressStyle::kJson);
  resumed.first_step = 90;
  Progress progress(resumed);
  now_ += 2;
  progress.update(92);
  EXPECT_EQ(json::parse(lines()[0])["rate"], 1.0);
}

TEST_F(ProgressTest, BeforeTheFirstStepTheTimeLeftIsUnknown) {
  Progress progress(options(ProgressStyle::kPlain));
  now_ += 20;
  progress.update(0);
  EXPECT_THAT(written(), HasSubstr("0/100  0.0 steps/s  ETA ?"));
}

TEST_F(ProgressTest, SlowStepsAreSecondsAStep) {
  Progress progress(options(ProgressStyle::kPlain));
  now_ += 20;
  progress.update(4);
  EXPECT_THAT(written(), HasSubstr("4/100  5.0 s/step  ETA 8:00"));
}

TEST_F(ProgressTest, AFileIsNoTerminal) {
  Progress progress(options(ProgressStyle::kAuto));
  now_ += 20;
  progress.update(4);
  EXPECT_THAT(written(), Not(HasSubstr("\r")));
}

TEST_F(ProgressTest, NoneWritesNothing) {
  Progress progress(options(ProgressStyle::kNone));
  now_ += 100;
  progress.update(4);
  progress.finish();
  EXPECT_EQ(written(), "");
}

TEST_F(ProgressTest, RefusesTotalsThatMakeNoSense) {
  EXPECT_THROW(Progress(options(ProgressStyle::kNone, 0)), std::invalid_argument);
  auto late = options(ProgressStyle::kNone, 10);
  late.first_step = 11;
  EXPECT_THROW(Progress{late}, std::invalid_argument);
}

TEST(FormatDurationTest, ShowsHoursWhereThereAreAny) {
  EXPECT_EQ(format_duration(0), "0:00");
  EXPECT_EQ(format_duration(59.6), "1:00");
  EXPECT_EQ(format_duration(3723), "1:02:03");
  EXPECT_EQ(format_duration(360'000), "100:00:00");
  EXPECT_EQ(format_duration(-1), "?");
  EXPECT_EQ(format_duration(std::nan("")), "?");
  EXPECT_EQ(format_duration(std::numeric_limits<double>::infinity()), "?");
}

}  // namespace
}  // namespace ddpm
