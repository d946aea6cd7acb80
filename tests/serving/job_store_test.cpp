#include "ddpm/serving/jobs/job_store.h"

#include <ATen/Parallel.h>
#include <gtest/gtest.h>

#include <atomic>
#include <filesystem>
#include <fstream>
#include <latch>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <thread>
#include <unistd.h>

#include "ddpm/serving/jobs/job_record.h"
#include "ddpm/serving/jobs/jobs.h"
#include "serving/fake_model.h"

namespace ddpm {
namespace {

namespace fs = std::filesystem;
using std::chrono::seconds;
using testing::fake_model;
using testing::FakeCalls;

/// A file of its own for each test.
class JobStoreTest : public ::testing::Test {
 protected:
  void SetUp() override {
    if (!has_job_store()) GTEST_SKIP() << "this build has no SQLite";
    at::set_num_threads(1);
    folder_ = fs::path(::testing::TempDir()) /
              ::testing::UnitTest::GetInstance()->current_test_info()->name();
    fs::remove_all(folder_);
    fs::create_directories(folder_);
  }

  fs::path file() const { return folder_ / "jobs.db"; }
  std::unique_ptr<JobStore> open() const { return open_job_store({.file = file()}); }

  static JobSnapshot job_over(const JobId& id, int64_t num_images = 1) {
    JobSnapshot job;
    job.id = id;
    job.request.engine = {.model = "fake",
                          .seed = 0xfedcba9876543210,
                          .num_images = num_images,
                          .sampler = {.kind = SamplerKind::kDpmpp2m, .steps = 7, .eta = 0.1},
                          .class_labels = {3},
                          .guidance = {.scale = 2.5, .interval = {0.3, 5}},
                          .priority = -1,
                          .wants_previews = true,
                          .trace_frames = 4};
    job.request.text = R"({"model":"fake"})";
    job.request.idempotency_key = "key of " + id;
    job.request.fingerprint = "print";
    job.state = JobState::kSucceeded;
    job.progress = {
        .steps_done = 7, .num_steps = 7, .images_done = num_images, .num_images = num_images};
    job.created = JobClock::time_point(seconds(1000));
    job.started = JobClock::time_point(seconds(1001));
    job.finished = JobClock::time_point(seconds(1002));
    return job;
  }

  fs::path folder_;
};

TEST_F(JobStoreTest, AJobComesBackAsItWas) {
  const JobSnapshot job = job_over("a", 2);
  {
    const auto store = open();
    store->put(job);
    store->put_image("a", 0, {"first", "image/png"});
    store->put_image("a", 1, {std::string("with\0zero", 9), "image/webp"});
    EXPECT_EQ(store->num_failed_writes(), 0U);
  }
  const std::vector<JobSnapshot> kept = open()->load();
  ASSERT_EQ(kept.size(), 1U);
  const JobClock::time_point now = JobClock::now();
  EXPECT_EQ(job_record(kept[0], now), job_record(job, now));
  EXPECT_EQ(kept[0].request.engine.seed, 0xfedcba9876543210);
  EXPECT_EQ(kept[0].request.engine.guidance.interval, (std::vector<double>{0.3, 5}));
  ASSERT_EQ(kept[0].images.size(), 2U);
  EXPECT_EQ(kept[0].images.at(1)->bytes, std::string("with\0zero", 9));
  EXPECT_EQ(kept[0].images.at(1)->media_type, "image/webp");
}

TEST_F(JobStoreTest, OnlyItsOwnerReadsTheFile) {
  const auto store = open();
  store->put(job_over("a"));
  for (const auto& entry : fs::directory_iterator(folder_)) {
    EXPECT_EQ(entry.status().permissions() & (fs::perms::group_all | fs::perms::others_all),
              fs::perms::none)
        << entry.path();
  }
}

TEST_F(JobStoreTest, AJobWithoutAllItsImagesIsOneThatWasCutShort) {
  {
    const auto store = open();
    store->put(job_over("a", 2));
    store->put_image("a", 0, {"first", "image/png"});
  }
  const std::vector<JobSnapshot> kept = open()->load();
  ASSERT_EQ(kept.size(), 1U);
  EXPECT_EQ(kept[0].state, JobState::kQueued);
  EXPECT_TRUE(kept[0].images.empty());
  EXPECT_FALSE(kept[0].finished.has_value());
}

TEST_F(JobStoreTest, ErasedJobsAndTheirImagesAreGone) {
  {
    const auto store = open();
    for (const char* id : {"a", "b"}) {
      store->put(job_over(id));
      store->put_image(id, 0, {"bytes", "image/png"});
    }
    store->erase({"a"});
  }
  const std::vector<JobSnapshot> kept = open()->load();
  ASSERT_EQ(kept.size(), 1U);
  EXPECT_EQ(kept[0].id, "b");
}

TEST_F(JobStoreTest, AProcessThatIsKilledLosesNothingItWrote) {
  const pid_t child = fork();
  if (child == 0) {
    const auto store = open();
    for (int i = 0; i < 50; ++i) {
      store->put(job_over("job" + std::to_string(i)));
      store->put_image("job" + std::to_string(i), 0, {std::string(10'000, 'x'), "image/png"});
    }
    raise(SIGKILL);
  }
  int status = 0;
  waitpid(child, &status, 0);
  ASSERT_TRUE(WIFSIGNALED(status));
  const std::vector<JobSnapshot> kept = open()->load();
  EXPECT_EQ(kept.size(), 50U);
  for (const JobSnapshot& job : kept) EXPECT_EQ(job.images.at(0)->bytes.size(), 10'000U);
}

TEST_F(JobStoreTest, OneProcessHasTheFile) {
  const auto store = open();
  try {
    open();
    FAIL() << "opened twice";
  } catch (const std::runtime_error& error) {
    EXPECT_NE(std::string(error.what()).find("another process has it open"), std::string::npos)
        << error.what();
  }
}

TEST_F(JobStoreTest, ADamagedFileIsMovedAside) {
  {
    const auto store = open();
    for (int i = 0; i < 40; ++i) {
      store->put(job_over(std::to_string(i)));
      store->put_image(std::to_string(i), 0, {std::string(5'000, 'x'), "image/png"});
    }
  }
  {
    std::fstream damage(file(), std::ios::in | std::ios::out | std::ios::binary);
    damage.seekp(4096);
    damage << std::string(3 * 4096, '\xa5');
  }
  const auto store = open();
  EXPECT_TRUE(store->load().empty());
  store->put(job_over("new"));
  EXPECT_EQ(store->num_failed_writes(), 0U);
  int num_aside = 0;
  for (const auto& entry : fs::directory_iterator(folder_)) {
    num_aside += entry.path().string().find(".damaged-") != std::string::npos;
  }
  EXPECT_GE(num_aside, 1);
}

TEST_F(JobStoreTest, AFileThatIsNoDatabaseIsMovedAside) {
  std::ofstream(file()) << std::string(5000, 'n');
  EXPECT_TRUE(open()->load().empty());
  EXPECT_EQ(std::distance(fs::directory_iterator(folder_), fs::directory_iterator()), 2);
}

TEST_F(JobStoreTest, AFullStoreSaysSoAndGoesOnWhenThereIsRoom) {
  const auto store = open_job_store({.file = file(), .max_bytes = 256 << 10});
  for (int i = 0; i < 40; ++i) {
    store->put(job_over(std::to_string(i)));
    store->put_image(std::to_string(i), 0, {std::string(20'000, 'x'), "image/png"});
  }
  EXPECT_GT(store->num_failed_writes(), 0U);
  std::vector<JobId> all;
  for (int i = 0; i < 40; ++i) all.push_back(std::to_string(i));
  const uint64_t failed = store->num_failed_writes();
  store->erase(all);
  store->put(job_over("later"));
  store->put_image("later", 0, {std::string(20'000, 'x'), "image/png"});
  EXPECT_EQ(store->num_failed_writes(), failed);
  EXPECT_EQ(store->load().size(), 1U);
}

TEST_F(JobStoreTest, AFolderThatIsNotThereIsRefused) {
  EXPECT_THROW(open_job_store({.file = folder_ / "absent" / "jobs.db"}), std::runtime_error);
}

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
  EXPECT_EQ(job.restarts, 1);
  EXPECT_EQ(job.images.at(1)->bytes, whole) << "the same seed gives the same image";
}

TEST_F(KeptJobsTest, AJobThatIsInterruptedTwiceHasFailed) {
  JobSnapshot job = job_over("unlucky");
  job.state = JobState::kRunning;
  job.finished.reset();
  job.request.engine = job_of(900).engine;
  open()->put(job);
  {
    std::latch opened(1);
    calls_->before = [&](const Tensor&, const Tensor&, const Tensor&) { opened.wait(); };
    const auto server = start();
    EXPECT_EQ(server->jobs.find("unlucky")->restarts, 1);
    std::thread ending([&] { server->engine.drain(EngineClock::now()); });
    opened.count_down();
    ending.join();
  }
  calls_->before = {};
  const auto server = start();
  const JobSnapshot failed = server->jobs.find("unlucky").value();
  EXPECT_EQ(failed.state, JobState::kFailed);
  EXPECT_EQ(failed.error->code, JobErrorCode::kInterrupted);
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
