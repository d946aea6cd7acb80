#include <gtest/gtest.h>

#include <algorithm>
#include <latch>
#include <thread>

#include "ddpm/serving/jobs/jobs.h"
#include "serving/fake_model.h"
#include "serving/job_store_fixture.h"

namespace ddpm {
namespace {

using std::chrono::seconds;
using testing::fake_model;
using testing::FakeCalls;
using testing::JobStoreTest;

/// Jobs that outlive their server: an engine, and Jobs over the test's file.
class KeptJobsTest : public JobStoreTest {
 protected:
  struct Server {
    Server(const std::shared_ptr<FakeCalls>& calls, std::shared_ptr<JobStore> store)
        : engine({fake_model(calls)}, {}),
          jobs(
              engine,
              [](const JobRequest&, int64_t image, const Tensor& x) {
                return JobImage{
                    std::to_string(image) + ":" + std::to_string(x.sum().item<double>()),
                    "text/plain"};
              },
              options(std::move(store))) {}
    ~Server() { engine.drain(EngineClock::now()); }

    static JobsOptions options(std::shared_ptr<JobStore> store) {
      JobsOptions options;
      options.store = std::move(store);
      return options;
    }
    JobSnapshot wait_until_over(const JobId& id) const {
      for (;;) {
        const auto job = jobs.find(id);
        if (!job) throw std::logic_error("the job is gone");
        if (is_over(job->state)) return *job;
        std::this_thread::sleep_for(std::chrono::milliseconds(1));
      }
    }

    Engine engine;
    Jobs jobs;
  };

  std::unique_ptr<Server> start() {
    return std::make_unique<Server>(calls_, std::shared_ptr<JobStore>(open()));
  }
  static JobRequest job_of(int64_t steps, int64_t num_images = 1) {
    JobRequest request;
    request.engine.model = "fake";
    request.engine.num_images = num_images;
    request.engine.sampler.steps = steps;
    return request;
  }

  std::shared_ptr<FakeCalls> calls_ = std::make_shared<FakeCalls>();
};

TEST_F(KeptJobsTest, WhatIsOverStaysWithImagesOrderAndKey) {
  JobRequest request = job_of(5, 3);
  request.idempotency_key = "k";
  request.fingerprint = "body";
  JobSnapshot first, second;
  {
    const auto server = start();
    first = server->wait_until_over(server->jobs.submit(request).id);
    second = server->wait_until_over(server->jobs.submit(job_of(4)).id);
    const JobId forgotten = server->jobs.submit(job_of(3)).id;
    server->wait_until_over(forgotten);
    server->jobs.remove(forgotten);
  }
  const auto loads = calls_->loads.load();
  const auto server = start();
  const auto listed = server->jobs.list(10);
  ASSERT_EQ(listed.size(), 2U);
  EXPECT_EQ(listed[0].id, second.id);
  EXPECT_EQ(listed[1].state, JobState::kSucceeded);
  for (int64_t i = 0; i < 3; ++i) {
    EXPECT_EQ(listed[1].images.at(i)->bytes, first.images.at(i)->bytes);
  }
  EXPECT_EQ(server->jobs.submit(request).id, first.id) << "the key still names the job";
  EXPECT_EQ(calls_->loads, loads) << "nothing is drawn again";
  EXPECT_EQ(server->jobs.events_after(first.id, 0)->back().kind, JobEvent::Kind::kEnd);
  EXPECT_GT(server->jobs.result_bytes(), 0);
}

TEST_F(KeptJobsTest, WhatAShutdownCutShortIsDrawnAnew) {
  constexpr int64_t kSteps = 100;
  const std::string whole = [&] {
    const auto server = start();
    const JobId id = server->jobs.submit(job_of(kSteps, 2)).id;
    std::string bytes = server->wait_until_over(id).images.at(1)->bytes;
    server->jobs.remove(id);
    return bytes;
  }();
  JobId id;
  {
    calls_->before = [](const Tensor&, const Tensor&, const Tensor&) {
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
    };
    const auto server = start();
    id = server->jobs.submit(job_of(kSteps, 2)).id;
    server->engine.drain(EngineClock::now());
    EXPECT_EQ(server->wait_until_over(id).error->code, JobErrorCode::kStopped);
  }
  calls_->before = {};
  const auto server = start();
  const JobSnapshot job = server->wait_until_over(id);
  EXPECT_EQ(job.state, JobState::kSucceeded);
  EXPECT_EQ(job.interruptions, 0) << "a shutdown is no job's fault";
  EXPECT_EQ(job.images.at(1)->bytes, whole) << "the same seed gives the same image";
}

TEST_F(KeptJobsTest, AJobThatIsKilledTwiceWhileItIsDrawnHasFailed) {
  JobSnapshot job = job_over("unlucky");
  job.state = JobState::kRunning;
  job.finished.reset();
  job.request.engine = job_of(5).engine;
  open()->put(job);
  job.id = "again";
  job.interruptions = 1;
  open()->put(job);
  const auto server = start();
  EXPECT_EQ(server->wait_until_over("unlucky").state, JobState::kSucceeded);
  EXPECT_EQ(server->jobs.find("unlucky")->interruptions, 1);
  const JobSnapshot failed = server->jobs.find("again").value();
  EXPECT_EQ(failed.state, JobState::kFailed);
  EXPECT_EQ(failed.error->code, JobErrorCode::kInterrupted);
}

TEST_F(KeptJobsTest, AJobThatWaitsOutlivesFiveKillsInARow) {
  JobSnapshot job = job_over("patient");
  job.state = JobState::kQueued;
  job.finished.reset();
  job.request.engine = job_of(5).engine;
  job.restarts = 4;
  open()->put(job);
  job.id = "lost";
  job.restarts = 5;
  open()->put(job);
  const auto server = start();
  EXPECT_EQ(server->wait_until_over("patient").state, JobState::kSucceeded);
  EXPECT_EQ(server->jobs.find("lost")->error->code, JobErrorCode::kInterrupted);
}

/// Remembers what it was told of jobs.
struct RememberingStore : JobStore {
  std::vector<JobSnapshot> load() override { return kept; }
  void put(const JobSnapshot& job) override { told.push_back(job); }
  void put_image(const JobId& /*id*/, int64_t /*image*/, const JobImage& /*encoded*/) override {}
  void erase(const std::vector<JobId>& /*ids*/) override {}
  uint64_t num_failed_writes() const override { return 0; }

  std::vector<JobSnapshot> kept = {};
  std::vector<JobSnapshot> told = {};
};

TEST_F(KeptJobsTest, TheStoreIsToldThatAJobIsDrawn) {
  const auto store = std::make_shared<RememberingStore>();
  {
    Server server(calls_, store);
    server.wait_until_over(server.jobs.submit(job_of(50)).id);
  }
  ASSERT_GE(store->told.size(), 2U);
  const auto is_running = [](const JobSnapshot& job) { return job.state == JobState::kRunning; };
  EXPECT_TRUE(std::any_of(store->told.begin(), store->told.end(), is_running));
  EXPECT_EQ(store->told.back().state, JobState::kSucceeded);
}

TEST_F(KeptJobsTest, AShutdownLeavesWhatItStopsToTheNextServerAsIfNew) {
  const auto store = std::make_shared<RememberingStore>();
  JobSnapshot job = job_over("stopped");
  job.state = JobState::kQueued;
  job.finished.reset();
  job.request.engine = job_of(900).engine;
  job.restarts = 3;
  job.interruptions = 1;
  store->kept = {job};
  {
    std::latch opened(1);
    calls_->before = [&](const Tensor&, const Tensor&, const Tensor&) { opened.wait(); };
    Server server(calls_, store);
    EXPECT_EQ(server.jobs.find("stopped")->restarts, 4);
    std::thread ending([&] { server.engine.drain(EngineClock::now()); });
    opened.count_down();
    ending.join();
  }
  const JobSnapshot& last = store->told.back();
  EXPECT_EQ(last.state, JobState::kQueued);
  EXPECT_FALSE(last.error.has_value());
  EXPECT_EQ(last.restarts, 0);
  EXPECT_EQ(last.interruptions, 1);
}

TEST_F(KeptJobsTest, AJobWhoseModelIsGoneHasFailed) {
  JobSnapshot job = job_over("orphan");
  job.state = JobState::kQueued;
  job.request.engine = job_of(5).engine;
  job.request.engine.model = "gone";
  open()->put(job);
  EXPECT_EQ(start()->jobs.find("orphan")->error->code, JobErrorCode::kInterrupted);
}

TEST_F(KeptJobsTest, CancelledAndLateJobsAreNotDrawnAgain) {
  JobId cancelled;
  {
    std::latch opened(1);
    calls_->before = [&](const Tensor&, const Tensor&, const Tensor&) { opened.wait(); };
    const auto server = start();
    cancelled = server->jobs.submit(job_of(900)).id;
    server->jobs.remove(cancelled);
    opened.count_down();
    EXPECT_EQ(server->wait_until_over(cancelled).state, JobState::kCancelled);
  }
  JobSnapshot late = job_over("late");
  late.state = JobState::kQueued;
  late.request.engine = job_of(5).engine;
  late.request.engine.deadline = EngineClock::now() - seconds(5);
  open()->put(late);
  calls_->before = {};
  const auto server = start();
  EXPECT_EQ(server->jobs.find(cancelled)->state, JobState::kCancelled);
  EXPECT_EQ(server->wait_until_over("late").error->code, JobErrorCode::kTimedOut);
}

}  // namespace
}  // namespace ddpm
