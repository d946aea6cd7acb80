#include "ddpm/serving/jobs/job_store.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "ddpm/serving/jobs/job_record.h"
#include "serving/job_store_fixture.h"

namespace ddpm {
namespace {

namespace fs = std::filesystem;
using testing::JobStoreTest;

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

}  // namespace
}  // namespace ddpm
