// Checkpoints against kills, full disks and folders that can't be written.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <csignal>
#include <fstream>
#include <random>
#include <stdexcept>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <thread>
#include <unistd.h>

#include "checkpoint/contents_of_step.h"
#include "checkpoint/safetensors_bytes.h"
#include "ddpm/checkpoint/checkpoint_folder.h"

namespace ddpm {
namespace {

namespace fs = std::filesystem;
using ::testing::AllOf;
using testing::contents_of_step;
using testing::expect_contents_of_step;
using ::testing::HasSubstr;
using testing::message_of;

fs::path fresh_folder(const std::string& name) {
  const fs::path folder = fs::path(::testing::TempDir()) / name;
  fs::remove_all(folder);
  fs::create_directories(folder);
  return folder;
}

std::ptrdiff_t count_entries(const fs::path& folder) {
  return std::distance(fs::directory_iterator(folder), {});
}

/// Writes checkpoints until it is killed, one step after another, each twice, keeping 3. Sends a
/// byte to `progress` after each.
[[noreturn]] void write_forever(const fs::path& run, std::int64_t first, int progress) {
  for (std::int64_t step = first;; ++step) {
    const auto contents = contents_of_step(step);
    for (int i = 0; i < 2; ++i) {
      write_checkpoint(run, step, contents);
      if (write(progress, "w", 1) != 1) _exit(2);
    }
    prune_checkpoints(run, 3);
  }
}

/// A process in write_forever().
class Writer {
 public:
  Writer(const fs::path& run, std::int64_t first) {
    int ends[2];
    if (pipe(ends) != 0) throw std::runtime_error("pipe");
    child_ = fork();
    if (child_ < 0) throw std::runtime_error("fork");
    if (child_ == 0) {
      try {
        write_forever(run, first, ends[1]);
      } catch (...) {
        _exit(1);
      }
    }
    close(ends[1]);
    progress_ = ends[0];
  }
  ~Writer() { close(progress_); }
  Writer(const Writer&) = delete;
  Writer& operator=(const Writer&) = delete;

  /// Waits for `count` checkpoints; the time that the last one took. Fails if the writer has ended.
  std::chrono::microseconds await(int count) const {
    auto start = std::chrono::steady_clock::now();
    for (int i = 0; i < count; ++i) {
      start = std::chrono::steady_clock::now();
      char byte = 0;
      EXPECT_EQ(read(progress_, &byte, 1), 1) << "the writer has ended by itself";
    }
    return std::chrono::duration_cast<std::chrono::microseconds>(std::chrono::steady_clock::now() -
                                                                 start);
  }

  void kill_now() const {
    EXPECT_EQ(kill(child_, SIGKILL), 0);
    int status = 0;
    EXPECT_EQ(waitpid(child_, &status, 0), child_);
    EXPECT_TRUE(WIFSIGNALED(status)) << "the writer has ended by itself with status " << status;
  }

 private:
  pid_t child_ = -1;
  int progress_ = -1;
};

TEST(CheckpointCrashTest, KilledAtAnyMomentEveryListedCheckpointIsWhole) {
  const fs::path run = fresh_folder("killed_run");
  std::mt19937 random(7);
  std::int64_t last_step = 0;
  for (int kill_number = 0; kill_number < 20; ++kill_number) {
    const Writer writer(run, last_step + 1);
    const int count = 2 + static_cast<int>(random() % 3);
    const auto write_time = writer.await(count);
    std::this_thread::sleep_for(write_time * (random() % 200) / 100);
    writer.kill_now();

    const auto entries = list_checkpoints(run);
    ASSERT_FALSE(entries.empty());
    for (const auto& entry : entries) {
      expect_contents_of_step(read_checkpoint(entry.folder), entry.step);
    }
    const std::int64_t written = last_step + (count + 1) / 2;
    EXPECT_GE(entries.back().step, written) << "a kill lost a checkpoint that was written";
    last_step = entries.back().step;
  }
  prune_checkpoints(run, 3);
  EXPECT_LE(count_entries(run / "checkpoints"), 3) << "what the kills left is swept up";
}

/// Files of this process can't grow past `bytes` while it lives: writes fail with EFBIG.
class FileSizeLimit {
 public:
  explicit FileSizeLimit(rlim_t bytes) : old_handler_(std::signal(SIGXFSZ, SIG_IGN)) {
    getrlimit(RLIMIT_FSIZE, &old_);
    const rlimit limit{.rlim_cur = bytes, .rlim_max = old_.rlim_max};
    setrlimit(RLIMIT_FSIZE, &limit);
  }
  ~FileSizeLimit() {
    setrlimit(RLIMIT_FSIZE, &old_);
    std::signal(SIGXFSZ, old_handler_);
  }
  FileSizeLimit(const FileSizeLimit&) = delete;
  FileSizeLimit& operator=(const FileSizeLimit&) = delete;

 private:
  void (*old_handler_)(int);
  rlimit old_{};
};

TEST(CheckpointCrashTest, AFailedWriteLeavesOlderCheckpointsAndNothingElse) {
  const fs::path run = fresh_folder("limited_run");
  write_checkpoint(run, 1, contents_of_step(1));
  {
    const FileSizeLimit limit(20'000);  // a quarter of a tensor file
    EXPECT_THAT(
        message_of<std::runtime_error>([&] { write_checkpoint(run, 2, contents_of_step(2)); }),
        AllOf(HasSubstr("model.safetensors"), HasSubstr("File too large")));
    EXPECT_THROW(write_checkpoint(run, 1, contents_of_step(1)), std::runtime_error);
  }
  EXPECT_EQ(count_entries(run / "checkpoints"), 1);
  expect_contents_of_step(read_checkpoint(list_checkpoints(run).at(0).folder), 1);
  write_checkpoint(run, 2, contents_of_step(2));
  EXPECT_EQ(list_checkpoints(run).size(), 2u);
}

/// A file system in memory of 400 KiB; is_mounted() is false without the right to mount.
class SmallDisk {
 public:
  explicit SmallDisk(fs::path folder) : folder_(std::move(folder)) {
    is_mounted_ = mount("tmpfs", folder_.c_str(), "tmpfs", 0, "size=400k") == 0;
  }
  ~SmallDisk() {
    if (is_mounted_) umount(folder_.c_str());
  }
  SmallDisk(const SmallDisk&) = delete;
  SmallDisk& operator=(const SmallDisk&) = delete;
  bool is_mounted() const { return is_mounted_; }
  bool make_read_only() const {
    return mount(nullptr, folder_.c_str(), nullptr, MS_REMOUNT | MS_RDONLY, nullptr) == 0;
  }

 private:
  fs::path folder_;
  bool is_mounted_ = false;
};

TEST(CheckpointCrashTest, AFullDiskIsNamedAndCanBeTriedAgain) {
  const fs::path run = fresh_folder("full_run");
  const SmallDisk disk(run);
  if (!disk.is_mounted()) GTEST_SKIP() << "needs the right to mount a small file system";
  write_checkpoint(run, 1, contents_of_step(1));  // 240 KB
  EXPECT_THAT(
      message_of<std::runtime_error>([&] { write_checkpoint(run, 2, contents_of_step(2)); }),
      AllOf(HasSubstr("step-00000002"), HasSubstr("No space left on device")));
  EXPECT_EQ(count_entries(run / "checkpoints"), 1);
  expect_contents_of_step(read_checkpoint(list_checkpoints(run).at(0).folder), 1);

  fs::remove_all(list_checkpoints(run).at(0).folder);
  write_checkpoint(run, 2, contents_of_step(2));
  expect_contents_of_step(read_checkpoint(list_checkpoints(run).at(0).folder), 2);

  ASSERT_TRUE(disk.make_read_only());
  EXPECT_THAT(
      message_of<std::runtime_error>([&] { write_checkpoint(run, 3, contents_of_step(3)); }),
      AllOf(HasSubstr("step-00000003"), HasSubstr("Read-only file system")));
}

TEST(CheckpointCrashTest, AFileInThePlaceOfTheFolderIsNamed) {
  const fs::path run = fresh_folder("blocked_run");
  std::ofstream(run / "checkpoints") << "in the way";
  EXPECT_THAT(
      message_of<std::runtime_error>([&] { write_checkpoint(run, 1, contents_of_step(1)); }),
      HasSubstr("checkpoints/step-00000001"));
}

}  // namespace
}  // namespace ddpm
