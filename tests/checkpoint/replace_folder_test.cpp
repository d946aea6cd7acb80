#include "ddpm/checkpoint/replace_folder.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cerrno>
#include <stdexcept>
#include <unistd.h>

#include "checkpoint/safetensors_bytes.h"
#include "ddpm/core/file.h"

namespace ddpm {
namespace {

namespace fs = std::filesystem;
using ::testing::AllOf;
using ::testing::HasSubstr;
using testing::message_of;

class ReplaceFolderTest : public ::testing::Test {
 protected:
  void SetUp() override {
    fs::remove_all(parent_);
    for (const fs::path& folder : {from_, to_}) {
      fs::create_directories(folder);
      write_file_atomic(folder / "content", folder.filename().string());
    }
  }
  void TearDown() override { fs::remove_all(parent_); }

  /// "new", "old", or "" where no folder is.
  static std::string content(const fs::path& folder) {
    return fs::exists(folder) ? read_text_file(folder / "content") : "";
  }

  /// A file system that can't exchange, and fails from the `first_failure`-th rename on, up to the
  /// `last_failure`-th.
  RenameCalls two_renames(int first_failure = 99, int last_failure = 99) {
    RenameCalls calls = system_rename_calls();
    calls.exchange = [](const fs::path&, const fs::path&) { return EINVAL; };
    calls.rename = [=, this, rename = calls.rename](const fs::path& from, const fs::path& to) {
      ++renames_;
      const bool fails = first_failure <= renames_ && renames_ <= last_failure;
      return fails ? EACCES : rename(from, to);
    };
    return calls;
  }

  const fs::path parent_ =
      fs::path(::testing::TempDir()) / ("replace_folder_test_" + std::to_string(getpid()));
  const fs::path from_ = parent_ / "new";
  const fs::path to_ = parent_ / "old";
  const fs::path aside_ = parent_ / "aside";
  int renames_ = 0;
};

TEST_F(ReplaceFolderTest, ExchangesTheNames) {
  EXPECT_EQ(replace_folder(from_, to_, aside_), from_) << "does this file system not exchange?";
  EXPECT_EQ(content(to_), "new");
  EXPECT_EQ(content(from_), "old");
  EXPECT_FALSE(fs::exists(aside_));
}

TEST_F(ReplaceFolderTest, RenamesTwiceWhereItCannotExchange) {
  for (const int unsupported : {EINVAL, ENOSYS}) {
    SetUp();
    RenameCalls calls = two_renames();
    calls.exchange = [=](const fs::path&, const fs::path&) { return unsupported; };
    EXPECT_EQ(replace_folder(from_, to_, aside_, calls), aside_);
    EXPECT_EQ(content(to_), "new");
    EXPECT_EQ(content(aside_), "old");
    EXPECT_FALSE(fs::exists(from_));
  }
}

TEST_F(ReplaceFolderTest, AnotherFailureOfTheExchangeChangesNothing) {
  RenameCalls calls = two_renames();
  calls.exchange = [](const fs::path&, const fs::path&) { return EROFS; };
  EXPECT_THAT(
      message_of<std::runtime_error>([&] { replace_folder(from_, to_, aside_, calls); }),
      AllOf(HasSubstr("can't replace '" + to_.string() + "'"), HasSubstr("Read-only file system")));
  EXPECT_EQ(renames_, 0);
  EXPECT_EQ(content(to_), "old");
}

TEST_F(ReplaceFolderTest, AFirstRenameThatFailsChangesNothing) {
  EXPECT_THAT(message_of<std::runtime_error>(
                  [&] { replace_folder(from_, to_, aside_, two_renames(1, 1)); }),
              AllOf(HasSubstr("can't rename '" + to_.string() + "'"), HasSubstr("Permission")));
  EXPECT_EQ(content(to_), "old");
  EXPECT_EQ(content(from_), "new");
}

TEST_F(ReplaceFolderTest, ASecondRenameThatFailsGivesTheOldFolderItsNameBack) {
  EXPECT_THAT(message_of<std::runtime_error>(
                  [&] { replace_folder(from_, to_, aside_, two_renames(2, 2)); }),
              HasSubstr("can't rename '" + from_.string() + "'"));
  EXPECT_EQ(content(to_), "old");
  EXPECT_EQ(content(from_), "new");
  EXPECT_FALSE(fs::exists(aside_));
}

TEST_F(ReplaceFolderTest, SaysWhereTheOldFolderIsIfItCannotGetItsNameBack) {
  EXPECT_THAT(message_of<std::runtime_error>(
                  [&] { replace_folder(from_, to_, aside_, two_renames(2, 3)); }),
              HasSubstr("the old one is '" + aside_.string() + "'"));
  EXPECT_EQ(content(aside_), "old");
  EXPECT_EQ(content(from_), "new");
}

}  // namespace
}  // namespace ddpm
