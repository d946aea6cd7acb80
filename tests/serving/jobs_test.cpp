#include "ddpm/serving/jobs/jobs.h"

#include <ATen/Parallel.h>
#include <gtest/gtest.h>

#include <atomic>
#include <latch>
#include <set>
#include <stdexcept>
#include <thread>

#include "serving/fake_model.h"

namespace ddpm {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using testing::fake_model;
using testing::FakeCalls;

JobImage encode_as_text(const JobRequest& request, int64_t image, const Tensor& x) {
  return {request.format + std::to_string(image) + ":" + std::to_string(x.numel()), "text/plain"};
}

JobRequest job_of(int64_t steps, int64_t num_images = 1) {
  JobRequest request;
  request.engine.model = "fake";
  request.engine.num_images = num_images;
  request.engine.sampler.steps = steps;
  return request;
}

class JobsTest : public ::testing::Test {
 protected:
  void SetUp() override { at::set_num_threads(1); }
  void TearDown() override {
    opened_.count_down();
    EXPECT_TRUE(engine_.drain(EngineClock::now() + seconds(60)));
  }
  /// Holds the network back until opened_ counts down.
  void hold() {
    calls_->before = [this](const Tensor&, const Tensor&, const Tensor&) { opened_.wait(); };
  }
  /// What is over may be forgotten at once.
  static JobsOptions impatient() { return {.first_look = seconds(0), .next_look = seconds(0)}; }
  JobsOptions with_clock() {
    JobsOptions options = impatient();
    options.now = [this] { return JobClock::time_point(seconds(now_.load())); };
    return options;
  }
  static JobSnapshot wait_until_over(const Jobs& jobs, const JobId& id) {
    for (;;) {
      const auto job = jobs.find(id);
      if (!job) throw std::logic_error("the job is gone");
      if (is_over(job->state)) return *job;
      std::this_thread::sleep_for(milliseconds(1));
    }
  }

  std::shared_ptr<FakeCalls> calls_ = std::make_shared<FakeCalls>();
  std::latch opened_{1};
  std::atomic<int64_t> now_ = 1000;
  Engine engine_{{fake_model(calls_)}, {}};
};

TEST_F(JobsTest, AJobGoesFromQueuedToItsEncodedImages) {
  hold();
  Jobs jobs(engine_, encode_as_text);
  const JobSnapshot queued = jobs.submit(job_of(5, 3));
  EXPECT_EQ(queued.id.size(), 26U);
  opened_.count_down();
  const JobSnapshot done = wait_until_over(jobs, queued.id);
  EXPECT_EQ(done.state, JobState::kSucceeded);
  EXPECT_FALSE(done.error.has_value());
  EXPECT_EQ(done.progress.steps_done, 15);
  EXPECT_EQ(done.progress.num_steps, 15);
  ASSERT_EQ(done.images.size(), 3U);
  EXPECT_EQ(done.images.at(2)->bytes, "png2:32");
  EXPECT_EQ(jobs.result_bytes(), 3 * 7);
  EXPECT_TRUE(done.started && done.finished && *done.finished >= *done.started);
}

TEST_F(JobsTest, QueuedJobsKnowTheirPosition) {
  hold();
  Jobs jobs(engine_, encode_as_text);
  const std::string model = "absent";
  JobRequest unknown = job_of(5);
  unknown.engine.model = model;
  EXPECT_THROW(jobs.submit(unknown), EngineRejected);
  EXPECT_TRUE(jobs.list(10).empty()) << "a rejected job leaves nothing";
  const JobId first = jobs.submit(job_of(5)).id;
  while (jobs.find(first)->state == JobState::kQueued) std::this_thread::yield();
  const JobSnapshot second = jobs.submit(job_of(5));
  const JobSnapshot third = jobs.submit(job_of(5));
  EXPECT_EQ(second.position, 0);
  EXPECT_EQ(third.position, 1);
  const auto listed = jobs.list(2);
  ASSERT_EQ(listed.size(), 2U);
  EXPECT_EQ(listed[0].id, third.id);
  EXPECT_EQ(jobs.list(10, listed[1].id).front().id, first);
  opened_.count_down();
  wait_until_over(jobs, third.id);
}

TEST_F(JobsTest, AnIdempotencyKeyMakesOneJob) {
  Jobs jobs(engine_, encode_as_text);
  JobRequest request = job_of(5);
  request.idempotency_key = "k";
  request.fingerprint = "body";
  const JobId first = jobs.submit(request).id;
  EXPECT_EQ(jobs.submit(request).id, first);
  request.fingerprint = "another";
  EXPECT_THROW(jobs.submit(request), JobKeyConflict);
  wait_until_over(jobs, first);
  jobs.remove(first);
  EXPECT_NE(jobs.submit(request).id, first) << "a forgotten job's key is free";
  ASSERT_TRUE(engine_.drain(EngineClock::now() + seconds(60)));
}

TEST_F(JobsTest, RemovingCancelsWhatIsOpenAndForgetsWhatIsOver) {
  hold();
  Jobs jobs(engine_, encode_as_text);
  const JobId id = jobs.submit(job_of(900)).id;
  EXPECT_TRUE(jobs.remove(id).has_value());
  opened_.count_down();
  EXPECT_EQ(wait_until_over(jobs, id).state, JobState::kCancelled);
  EXPECT_TRUE(jobs.remove(id).has_value());
  EXPECT_FALSE(jobs.find(id).has_value());
  EXPECT_FALSE(jobs.remove(id).has_value());
  EXPECT_FALSE(jobs.events_after(id, 0).has_value());
  EXPECT_EQ(jobs.listen(id, [] {}), nullptr);
}

TEST_F(JobsTest, ReadersOfEventsResumeByNumber) {
  Jobs jobs(engine_, encode_as_text);
  JobRequest request = job_of(20, 2);
  request.engine.wants_previews = true;
  const JobId id = jobs.submit(request).id;
  std::atomic<int> news = 0;
  const auto listening = jobs.listen(id, [&] { ++news; });
  wait_until_over(jobs, id);
  const std::vector<JobEvent> events = jobs.events_after(id, 0).value();
  ASSERT_EQ(events.size(), 4U) << "running, two images, end; progress and previews are over";
  EXPECT_EQ(events.front().state, JobState::kRunning);
  EXPECT_EQ(events[1].kind, JobEvent::Kind::kImage);
  EXPECT_EQ(events.back().kind, JobEvent::Kind::kEnd);
  EXPECT_EQ(events.back().progress.images_done, 2);
  const auto rest = jobs.events_after(id, events[1].number).value();
  ASSERT_EQ(rest.size(), 2U);
  EXPECT_EQ(rest.front().number, events[2].number);
  EXPECT_TRUE(jobs.events_after(id, events.back().number)->empty());
}

TEST_F(JobsTest, ResultsAreBoundedByBytesAndTheOldestGoFirst) {
  JobsOptions options = impatient();
  options.max_result_bytes = 3 * 7;
  Jobs jobs(engine_, encode_as_text, options);
  std::vector<JobId> ids;
  for (int i = 0; i < 5; ++i) {
    ids.push_back(jobs.submit(job_of(3)).id);
    wait_until_over(jobs, ids.back());
  }
  EXPECT_LE(jobs.result_bytes(), 3 * 7);
  EXPECT_FALSE(jobs.find(ids[1]).has_value());
  EXPECT_TRUE(jobs.find(ids[2]).has_value());
}

TEST_F(JobsTest, AJobThatIsFollowedIsNotForgottenForItsBytes) {
  hold();
  JobsOptions options = impatient();
  options.max_result_bytes = 1;
  Jobs jobs(engine_, encode_as_text, options);
  const JobId id = jobs.submit(job_of(3)).id;
  auto listening = jobs.listen(id, [] {});
  opened_.count_down();
  EXPECT_EQ(wait_until_over(jobs, id).images.size(), 1U);
  jobs.expire();
  EXPECT_TRUE(jobs.find(id).has_value());
  listening.reset();
  jobs.expire();
  EXPECT_FALSE(jobs.find(id).has_value());
  EXPECT_EQ(jobs.result_bytes(), 0);
}

TEST_F(JobsTest, JobsAreForgottenByAgeAndByCount) {
  JobsOptions options = with_clock();
  options.max_age = seconds(100);
  options.max_jobs = 2;
  Jobs jobs(engine_, encode_as_text, options);
  const JobId first = jobs.submit(job_of(3)).id;
  wait_until_over(jobs, first);
  now_ += 99;
  jobs.expire();
  EXPECT_TRUE(jobs.find(first).has_value());
  now_ += 2;
  jobs.expire();
  EXPECT_FALSE(jobs.find(first).has_value());
  EXPECT_EQ(jobs.result_bytes(), 0);
  for (int i = 0; i < 4; ++i) wait_until_over(jobs, jobs.submit(job_of(3)).id);
  EXPECT_EQ(jobs.list(10).size(), 2U);
}

TEST_F(JobsTest, AFailedEncodingFailsTheJobAlone) {
  std::atomic<bool> fails = true;
  Jobs jobs(engine_, [&](const JobRequest& request, int64_t image, const Tensor& x) {
    if (fails) throw std::runtime_error("disk full");
    return encode_as_text(request, image, x);
  });
  const JobSnapshot failed = wait_until_over(jobs, jobs.submit(job_of(3)).id);
  EXPECT_EQ(failed.state, JobState::kFailed);
  EXPECT_EQ(failed.error->code, JobErrorCode::kEncoding);
  fails = false;
  EXPECT_EQ(wait_until_over(jobs, jobs.submit(job_of(3)).id).state, JobState::kSucceeded);
}

TEST_F(JobsTest, AFailingNetworkAndALateJobSayWhy) {
  Jobs jobs(engine_, encode_as_text);
  calls_->before = [](const Tensor&, const Tensor&, const Tensor&) {
    throw std::runtime_error("no kernel image");
  };
  const JobSnapshot failed = wait_until_over(jobs, jobs.submit(job_of(3)).id);
  EXPECT_EQ(failed.error->code, JobErrorCode::kEngine);
  EXPECT_EQ(failed.error->message, "no kernel image");
  JobRequest late = job_of(3);
  late.engine.deadline = EngineClock::now();
  EXPECT_EQ(wait_until_over(jobs, jobs.submit(late).id).error->code, JobErrorCode::kTimedOut);
}

TEST(JobTest, IdsDiffer) {
  std::set<JobId> ids;
  for (int i = 0; i < 1000; ++i) ids.insert(random_job_id());
  EXPECT_EQ(ids.size(), 1000U);
}

TEST(JobLogTest, OnlyWhatStillCountsIsKept) {
  JobLog log;
  using enum JobEvent::Kind;
  log.add({.kind = kState});
  for (int64_t step = 0; step < 100; ++step) {
    log.add({.kind = kProgress});
    log.add({.kind = kPreview, .image = step % 2, .step = step});
  }
  const auto events = log.after(0);
  ASSERT_EQ(events.size(), 4U) << "the state, a preview an image, the last progress";
  EXPECT_EQ(log.after(events[2].number).front().step, 99);
  log.add({.kind = kImage, .image = 1});
  EXPECT_EQ(log.after(0).size(), 4U) << "in the place of its preview";
  log.add({.kind = kEnd});
  EXPECT_EQ(log.after(0).size(), 3U);
  EXPECT_EQ(log.last_number(), 203U);
}

}  // namespace
}  // namespace ddpm
