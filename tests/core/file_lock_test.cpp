#include "ddpm/core/file_lock.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cerrno>
#include <csignal>
#include <optional>
#include <stdexcept>
#include <sys/wait.h>
#include <system_error>
#include <unistd.h>

#include "ddpm/core/file.h"

namespace ddpm {
namespace {

namespace fs = std::filesystem;
using ::testing::AllOf;
using ::testing::HasSubstr;

class FileLockTest : public ::testing::Test {
 protected:
  void SetUp() override { fs::remove(path_); }
  void TearDown() override { fs::remove(path_); }

  /// What a second holder is told; empty if it gets the lock.
  std::string refusal() const {
    try {
      const FileLock second(path_);
    } catch (const std::invalid_argument& error) {
      return error.what();
    }
    return {};
  }

  const fs::path path_ =
      fs::path(::testing::TempDir()) / ("file_lock_test_" + std::to_string(getpid()));
};

/// A process that holds a lock until it is killed.
class HoldingProcess {
 public:
  explicit HoldingProcess(const fs::path& path) {
    int ends[2];
    if (pipe(ends) != 0) throw std::runtime_error("pipe");
    child_ = fork();
    if (child_ == 0) {
      try {
        const FileLock lock(path);
        if (write(ends[1], "h", 1) == 1) pause();
      } catch (...) {
      }
      _exit(1);
    }
    close(ends[1]);
    char byte = 0;
    EXPECT_EQ(read(ends[0], &byte, 1), 1) << "the process did not get the lock";
    close(ends[0]);
  }
  ~HoldingProcess() {
    if (child_ > 0) kill_now();
  }
  HoldingProcess(const HoldingProcess&) = delete;
  HoldingProcess& operator=(const HoldingProcess&) = delete;

  pid_t id() const { return child_; }
  void kill_now() {
    kill(child_, SIGKILL);
    waitpid(child_, nullptr, 0);
    child_ = -1;
  }

 private:
  pid_t child_ = -1;
};

TEST_F(FileLockTest, ASecondHolderIsToldWhoHoldsIt) {
  const HoldingProcess holder(path_);
  EXPECT_THAT(refusal(), AllOf(HasSubstr("[FileLock] one holder at a time: expected '" +
                                         path_.string() + "' to be free"),
                               HasSubstr("process " + std::to_string(holder.id()) + " on "),
                               HasSubstr(", since 20")));
}

TEST_F(FileLockTest, AKilledHolderLeavesItFree) {
  HoldingProcess holder(path_);
  ASSERT_NE(refusal(), "");
  holder.kill_now();
  EXPECT_THAT(read_text_file(path_), HasSubstr("process")) << "the kill let it clean up";
  EXPECT_EQ(refusal(), "");
}

TEST_F(FileLockTest, AnotherOneOfThisProcessIsRefusedToo) {
  std::optional<FileLock> first(path_);
  EXPECT_TRUE(first->is_held());
  EXPECT_THAT(refusal(), HasSubstr("process " + std::to_string(getpid())));
  first.reset();
  EXPECT_EQ(refusal(), "");
}

TEST_F(FileLockTest, TheFileStaysAndIsEmptyAfterwards) {
  { const FileLock lock(path_); }
  EXPECT_EQ(read_text_file(path_), "");
}

TEST_F(FileLockTest, MovesWithItsLock) {
  std::optional<FileLock> first(path_);
  const FileLock moved = std::move(*first);
  first.reset();
  EXPECT_TRUE(moved.is_held());
  EXPECT_EQ(moved.path(), path_);
  EXPECT_NE(refusal(), "");
}

TEST_F(FileLockTest, AHolderWithoutANameIsAnotherProcess) {
  const FileLock lock(path_);
  fs::resize_file(path_, 0);
  EXPECT_THAT(refusal(), HasSubstr("got it held by another process"));
}

TEST_F(FileLockTest, FileSystemsThatCannotLockLetEveryoneIn) {
  const auto unsupported = [](int, int) {
    errno = EOPNOTSUPP;
    return -1;
  };
  const FileLock first(path_, unsupported);
  EXPECT_FALSE(first.is_held());
  EXPECT_FALSE(FileLock(path_, unsupported).is_held());
}

TEST_F(FileLockTest, AnInterruptedCallIsRepeated) {
  static int calls = 0;
  calls = 0;
  const FileLock lock(path_, [](int, int) {
    errno = EINTR;
    return ++calls < 3 ? -1 : 0;
  });
  EXPECT_TRUE(lock.is_held());
  EXPECT_EQ(calls, 3);
}

TEST_F(FileLockTest, OtherFailuresNameTheFile) {
  const auto broken = [](int, int) {
    errno = EIO;
    return -1;
  };
  try {
    const FileLock lock(path_, broken);
    FAIL() << "expected an error";
  } catch (const std::system_error& error) {
    EXPECT_EQ(error.code().value(), EIO);
    EXPECT_THAT(error.what(), HasSubstr("can't lock '" + path_.string() + "'"));
  }
  EXPECT_THROW(FileLock(path_ / "below_a_file"), std::system_error);
}

}  // namespace
}  // namespace ddpm
