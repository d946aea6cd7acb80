#pragma once

#include <ATen/Parallel.h>
#include <gtest/gtest.h>

#include <chrono>
#include <filesystem>
#include <memory>

#include "ddpm/serving/jobs/job_store.h"

namespace ddpm::testing {

/// A file of its own for each test.
class JobStoreTest : public ::testing::Test {
 protected:
  void SetUp() override {
    if (!has_job_store()) GTEST_SKIP() << "this build has no SQLite";
    at::set_num_threads(1);
    folder_ = std::filesystem::path(::testing::TempDir()) /
              ::testing::UnitTest::GetInstance()->current_test_info()->name();
    std::filesystem::remove_all(folder_);
    std::filesystem::create_directories(folder_);
  }

  std::filesystem::path file() const { return folder_ / "jobs.db"; }
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
    job.created = JobClock::time_point(std::chrono::seconds(1000));
    job.started = JobClock::time_point(std::chrono::seconds(1001));
    job.finished = JobClock::time_point(std::chrono::seconds(1002));
    return job;
  }

  std::filesystem::path folder_;
};

}  // namespace ddpm::testing
