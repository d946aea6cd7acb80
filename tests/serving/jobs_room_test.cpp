#include <ATen/Parallel.h>
#include <gtest/gtest.h>

#include <atomic>
#include <latch>
#include <string>
#include <thread>

#include "ddpm/serving/jobs/jobs.h"
#include "serving/fake_model.h"

namespace ddpm {
namespace {

using std::chrono::seconds;
using testing::fake_model;
using testing::FakeCalls;

/// Jobs of images that take ten bytes each, of which three fit, and a clock that stands.
class JobsRoomTest : public ::testing::Test {
 protected:
  void SetUp() override { at::set_num_threads(1); }
  void TearDown() override {
    release();
    EXPECT_TRUE(engine_.drain(EngineClock::now() + seconds(60)));
  }
  void hold() {
    calls_->before = [this](const Tensor&, const Tensor&, const Tensor&) { opened_.wait(); };
  }
  void release() {
    if (!is_open_) opened_.count_down();
    is_open_ = true;
  }
  JobsOptions three_fit() {
    JobsOptions options;
    options.max_result_bytes = 30;
    options.now = [this] { return JobClock::time_point(seconds(now_.load())); };
    return options;
  }
  static JobRequest images(int64_t num_images, int64_t steps = 3) {
    JobRequest request;
    request.engine.model = "fake";
    request.engine.num_images = num_images;
    request.engine.sampler.steps = steps;
    request.most_result_bytes = 10 * num_images;
    return request;
  }
  /// Without a look at any job.
  void wait_until_all_are_over() const {
    while (jobs_.stats().queued + jobs_.stats().running > 0) std::this_thread::yield();
  }
  JobId draw(int64_t num_images) {
    JobId id = jobs_.submit(images(num_images)).id;
    wait_until_all_are_over();
    return id;
  }

  std::shared_ptr<FakeCalls> calls_ = std::make_shared<FakeCalls>();
  std::latch opened_{1};
  bool is_open_ = false;
  std::atomic<int64_t> now_ = 1000;
  Engine engine_{{fake_model(calls_)}, {}};
  Jobs jobs_{engine_,
             [](const JobRequest&, int64_t, const Tensor&) {
               return JobImage{std::string(10, 'i'), "text/plain"};
             },
             three_fit()};
};

TEST_F(JobsRoomTest, AJobThatEndedWaitsForItsFirstLook) {
  const JobId first = draw(3);
  now_ += 14;
  EXPECT_THROW(jobs_.submit(images(1)), JobsFull);
  now_ += 1;
  const JobId second = draw(1);
  EXPECT_FALSE(jobs_.find(first).has_value()) << "nobody came";
  EXPECT_TRUE(jobs_.find(second).has_value());
  EXPECT_EQ(jobs_.result_bytes(), 10);
}

TEST_F(JobsRoomTest, WhoHasLookedHasTimeToFetchTheImages) {
  const JobId first = draw(3);
  EXPECT_EQ(jobs_.find(first)->images.size(), 3U);
  now_ += 14;
  EXPECT_THROW(jobs_.submit(images(1)), JobsFull) << "a look shortens no time";
  EXPECT_EQ(jobs_.find(first)->images.size(), 3U);
  now_ += 4;
  EXPECT_TRUE(jobs_.find(first).has_value());
  now_ += 4;
  EXPECT_THROW(jobs_.submit(images(1)), JobsFull);
  EXPECT_TRUE(jobs_.find(first).has_value());
  now_ += 5;
  draw(1);
  EXPECT_FALSE(jobs_.find(first).has_value());
}

TEST_F(JobsRoomTest, OneThatIsNotInTheWayStays) {
  const JobId first = draw(1);
  now_ += 1000;
  draw(2);
  EXPECT_TRUE(jobs_.find(first).has_value()) << "there is room for both";
}

TEST_F(JobsRoomTest, OpenJobsHaveRoomForWhatTheyMayDraw) {
  hold();
  jobs_.submit(images(2));
  try {
    jobs_.submit(images(2));
    ADD_FAILURE() << "four images were taken in";
  } catch (const JobsFull& full) {
    EXPECT_EQ(full.retry_after_seconds, 5);
  }
  EXPECT_EQ(jobs_.stats().refused, 1U);
  EXPECT_EQ(jobs_.list(10).size(), 1U) << "a refused job leaves nothing";
  jobs_.submit(images(1));
  release();
  wait_until_all_are_over();
  EXPECT_EQ(jobs_.result_bytes(), 30);
  EXPECT_EQ(jobs_.list(10).size(), 2U) << "neither was forgotten before its first look";
}

TEST_F(JobsRoomTest, TheWaitIsUntilTheFirstMayBeForgotten) {
  draw(3);
  now_ += 13;
  try {
    jobs_.submit(images(1));
    ADD_FAILURE() << "a fourth image was taken in";
  } catch (const JobsFull& full) {
    EXPECT_EQ(full.retry_after_seconds, 2);
  }
}

TEST_F(JobsRoomTest, AJobAloneIsAlwaysTaken) {
  const JobId id = jobs_.submit(images(4)).id;
  wait_until_all_are_over();
  EXPECT_EQ(jobs_.find(id)->images.size(), 4U);
}

TEST_F(JobsRoomTest, WhatWasCancelledKeepsNoRoom) {
  hold();
  const JobId id = jobs_.submit(images(3, /*steps=*/900)).id;
  jobs_.remove(id);
  release();
  wait_until_all_are_over();
  EXPECT_NO_THROW(jobs_.submit(images(3)));
  wait_until_all_are_over();
}

TEST_F(JobsRoomTest, ARepeatedRequestFindsItsJobThoughAllIsFull) {
  hold();
  JobRequest request = images(3);
  request.idempotency_key = "again";
  const JobId id = jobs_.submit(request).id;
  EXPECT_THROW(jobs_.submit(images(1)), JobsFull);
  EXPECT_EQ(jobs_.submit(request).id, id);
}

TEST_F(JobsRoomTest, JobsAreCountedToo) {
  JobsOptions options = three_fit();
  options.max_jobs = 2;
  hold();
  Jobs jobs(
      engine_,
      [](const JobRequest&, int64_t, const Tensor&) {
        return JobImage{"i", "text/plain"};
      },
      options);
  jobs.submit(images(1));
  jobs.submit(images(1));
  EXPECT_THROW(jobs.submit(images(1)), JobsFull);
  release();
  EXPECT_TRUE(engine_.drain(EngineClock::now() + seconds(60)));
}

}  // namespace
}  // namespace ddpm
