#include <ATen/Parallel.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <latch>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "ddpm/serving/jobs/jobs.h"
#include "serving/fake_model.h"

namespace ddpm {
namespace {

using std::chrono::milliseconds;
using testing::fake_model;
using testing::FakeCalls;

constexpr std::size_t kFrameBytes = 30;

JobFrame ten_bytes_each(const ImageTrace& trace) {
  const std::string ten(kFrameBytes / 3, 'f');
  return {.step = trace.step, .t = trace.t, .x_t = ten, .eps = ten, .pred_x_start = ten};
}

JobRequest traced(int64_t frames) {
  JobRequest request;
  request.engine.model = "fake";
  request.engine.sampler.steps = 9;
  request.engine.trace_frames = frames;
  return request;
}

/// Frames that are kept, and listeners of jobs that wait.
class JobsNewsTest : public ::testing::Test {
 protected:
  void SetUp() override { at::set_num_threads(1); }
  void TearDown() override {
    release();
    EXPECT_TRUE(engine_.drain(EngineClock::now() + std::chrono::seconds(60)));
  }
  void hold() {
    calls_->before = [this](const Tensor&, const Tensor&, const Tensor&) { opened_.wait(); };
  }
  void release() {
    if (!is_open_) opened_.count_down();
    is_open_ = true;
  }
  static JobImage encode_as_one_byte(const JobRequest&, int64_t, const Tensor&) {
    return {"1", "text/plain"};
  }
  static JobsOptions with_frames() {
    JobsOptions options;
    options.encode_frame = ten_bytes_each;
    return options;
  }
  template <typename Fact>
  static bool soon(const Fact& fact) {
    for (int i = 0; i < 5000 && !fact(); ++i) std::this_thread::sleep_for(milliseconds(1));
    return fact();
  }
  static JobSnapshot wait_until_over(const Jobs& jobs, const JobId& id) {
    EXPECT_TRUE(soon([&] { return is_over(jobs.find(id)->state); }));
    return *jobs.find(id);
  }

  std::latch opened_{1};
  bool is_open_ = false;
  std::shared_ptr<FakeCalls> calls_ = std::make_shared<FakeCalls>();
  Engine engine_{{fake_model(calls_)}, {.max_in_flight = 1}};  // one job runs, others wait
};

TEST_F(JobsNewsTest, FramesAreKeptAndCountedUntilTheJobIsForgotten) {
  Jobs jobs(engine_, encode_as_one_byte, with_frames());
  const JobId id = jobs.submit(traced(4)).id;
  const JobSnapshot job = wait_until_over(jobs, id);
  ASSERT_EQ(job.trace.size(), 4U);
  EXPECT_EQ(job.trace.front()->step, 0);
  EXPECT_EQ(job.trace.back()->step, 8);
  EXPECT_GT(job.trace.front()->t, job.trace.back()->t);
  EXPECT_EQ(jobs.result_bytes(), static_cast<int64_t>(4 * kFrameBytes) + 1);
  jobs.remove(id);
  EXPECT_EQ(jobs.result_bytes(), 0);
}

TEST_F(JobsNewsTest, WithoutAnEncoderNoFrameIsKept) {
  Jobs jobs(engine_, encode_as_one_byte);
  EXPECT_TRUE(wait_until_over(jobs, jobs.submit(traced(4)).id).trace.empty());
}

TEST_F(JobsNewsTest, FramesMakeOldResultsGo) {
  JobsOptions options = with_frames();
  options.max_result_bytes = 5 * static_cast<int64_t>(kFrameBytes);
  options.first_look = options.next_look = std::chrono::seconds(0);
  Jobs jobs(engine_, encode_as_one_byte, options);
  const JobId first = jobs.submit(traced(4)).id;
  wait_until_over(jobs, first);
  wait_until_over(jobs, jobs.submit(traced(4)).id);
  EXPECT_FALSE(jobs.find(first).has_value());
  EXPECT_LE(jobs.result_bytes(), options.max_result_bytes);
}

TEST_F(JobsNewsTest, AFrameThatCantBeEncodedCostsNoImage) {
  JobsOptions options;
  options.encode_frame = [](const ImageTrace&) -> JobFrame { throw std::runtime_error("full"); };
  Jobs jobs(engine_, encode_as_one_byte, options);
  const JobSnapshot job = wait_until_over(jobs, jobs.submit(traced(4)).id);
  EXPECT_EQ(job.state, JobState::kSucceeded);
  EXPECT_TRUE(job.trace.empty());
  EXPECT_EQ(job.images.size(), 1U);
}

TEST_F(JobsNewsTest, AJobThatWaitsIsToldWhenOthersLeaveTheQueue) {
  hold();
  JobsOptions options;
  options.position_interval = milliseconds(0);
  Jobs jobs(engine_, encode_as_one_byte, options);
  const JobId first = jobs.submit(traced(0)).id;
  ASSERT_TRUE(soon([&] { return jobs.find(first)->state == JobState::kRunning; }));
  const JobId second = jobs.submit(traced(0)).id;
  const JobId third = jobs.submit(traced(0)).id;
  EXPECT_EQ(jobs.find(third)->position, 1);
  std::atomic<int> calls = 0;
  const auto listener = jobs.listen(third, [&] { ++calls; });
  jobs.remove(second);
  release();
  EXPECT_TRUE(soon([&] { return calls > 0; }));
  wait_until_over(jobs, third);
}

}  // namespace
}  // namespace ddpm
