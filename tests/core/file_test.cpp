#include "ddpm/core/file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cerrno>
#include <csignal>
#include <sys/resource.h>
#include <sys/stat.h>
#include <system_error>
#include <unistd.h>

namespace ddpm {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;

class FileTest : public ::testing::Test {
 protected:
  void SetUp() override {
    fs::remove_all(folder_);
    fs::create_directories(folder_);
  }
  void TearDown() override { fs::remove_all(folder_); }

  std::vector<std::string> names() const {
    std::vector<std::string> found;
    for (const auto& entry : fs::directory_iterator(folder_)) {
      found.push_back(entry.path().filename());
    }
    return found;
  }

  const fs::path folder_ =
      fs::path(::testing::TempDir()) / ("file_test_" + std::to_string(getpid()));
};

template <typename Call>
std::system_error system_error_of(Call&& call) {
  try {
    call();
  } catch (const std::system_error& error) {
    return error;
  }
  return {0, std::generic_category(), "no error"};
}

TEST_F(FileTest, WhatIsWrittenIsRead) {
  std::vector<uint8_t> bytes(200'000);
  for (size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<uint8_t>(i * 31);
  write_file_atomic(folder_ / "a.bin", bytes);
  EXPECT_EQ(read_binary_file(folder_ / "a.bin"), bytes);
  write_file_atomic(folder_ / "a.txt", std::string("text\0text", 9));
  EXPECT_EQ(read_text_file(folder_ / "a.txt"), std::string("text\0text", 9));
  write_file_atomic(folder_ / "empty", "");
  EXPECT_EQ(read_text_file(folder_ / "empty"), "");
}

TEST_F(FileTest, ReadsFilesWhoseSizeTheSystemDoesNotSay) {
  EXPECT_FALSE(read_text_file("/proc/self/status").empty());
}

TEST_F(FileTest, AWriteReplacesTheFileAndLeavesNothingElse) {
  write_file_atomic(folder_ / "a", "a longer text");
  write_file_atomic(folder_ / "a", "short");
  EXPECT_EQ(read_text_file(folder_ / "a"), "short");
  EXPECT_THAT(names(), ::testing::ElementsAre("a"));
}

TEST_F(FileTest, WithoutCommitTheOldFileStays) {
  write_file_atomic(folder_ / "a", "old");
  {
    AtomicFile file(folder_ / "a");
    file.write(std::vector<uint8_t>(1000, 1));
    EXPECT_EQ(names().size(), 2U);
    EXPECT_EQ(read_text_file(folder_ / "a"), "old");
  }
  EXPECT_EQ(read_text_file(folder_ / "a"), "old");
  EXPECT_THAT(names(), ::testing::ElementsAre("a"));
}

TEST_F(FileTest, ARefusedRenameLeavesNothing) {
  fs::create_directories(folder_ / "a" / "b");
  EXPECT_THROW(write_file_atomic(folder_ / "a", "text"), std::system_error);
  EXPECT_THAT(names(), ::testing::ElementsAre("a"));
}

TEST_F(FileTest, ARelativeNameWithoutAFolderWorks) {
  const fs::path before = fs::current_path();
  fs::current_path(folder_);
  write_file_atomic("bare", "text");
  fs::current_path(before);
  EXPECT_EQ(read_text_file(folder_ / "bare"), "text");
}

TEST_F(FileTest, ErrorsNameThePathAndTheReason) {
  const fs::path missing = folder_ / "missing";
  EXPECT_EQ(std::string(system_error_of([&] { read_text_file(missing); }).what()),
            "[read_text_file] can't open '" + missing.string() + "': No such file or directory");
  EXPECT_EQ(system_error_of([&] { read_binary_file(missing); }).code().value(), ENOENT);
  EXPECT_EQ(system_error_of([&] { read_text_file(folder_); }).code().value(), EISDIR);
  EXPECT_EQ(system_error_of([&] { MappedFile{missing}; }).code().value(), ENOENT);
  EXPECT_EQ(system_error_of([&] { MappedFile{folder_}; }).code().value(), EISDIR);
  EXPECT_EQ(system_error_of([&] { write_file_atomic(missing / "a", "x"); }).code().value(), ENOENT);
  EXPECT_EQ(system_error_of([&] { fsync_directory(missing); }).code().value(), ENOENT);
}

TEST_F(FileTest, AWriteThatDoesNotFitLeavesTheOldFile) {  // the limit stands in for a full disk
  write_file_atomic(folder_ / "a", "old");
  rlimit before{};
  ASSERT_EQ(getrlimit(RLIMIT_FSIZE, &before), 0);
  const rlimit small{.rlim_cur = 1000, .rlim_max = before.rlim_max};
  const auto handler = std::signal(SIGXFSZ, SIG_IGN);
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &small), 0);
  const std::string text(5000, 'x');
  const auto error = system_error_of([&] { write_file_atomic(folder_ / "a", text); });
  setrlimit(RLIMIT_FSIZE, &before);
  std::signal(SIGXFSZ, handler);
  EXPECT_EQ(error.code().value(), EFBIG);
  EXPECT_THAT(error.what(), HasSubstr("can't write"));
  EXPECT_EQ(read_text_file(folder_ / "a"), "old");
  EXPECT_THAT(names(), ::testing::ElementsAre("a"));
}

TEST_F(FileTest, NewFilesObeyTheUmask) {
  const mode_t before = umask(027);
  write_file_atomic(folder_ / "a", "text");
  umask(before);
  EXPECT_EQ(fs::status(folder_ / "a").permissions(), static_cast<fs::perms>(0640));
}

TEST_F(FileTest, AMappedFileShowsTheBytes) {
  write_file_atomic(folder_ / "a", "mapped");
  MappedFile mapped(folder_ / "a");
  EXPECT_EQ(std::string(mapped.bytes().begin(), mapped.bytes().end()), "mapped");

  MappedFile moved = std::move(mapped);
  EXPECT_EQ(moved.size(), 6U);
  write_file_atomic(folder_ / "b", "other");
  moved = MappedFile(folder_ / "b");
  EXPECT_EQ(std::string(moved.bytes().begin(), moved.bytes().end()), "other");

  write_file_atomic(folder_ / "empty", "");
  EXPECT_EQ(MappedFile(folder_ / "empty").size(), 0U);
}

TEST_F(FileTest, AMappedFileOutlivesItsName) {
  write_file_atomic(folder_ / "a", "first");
  const MappedFile mapped(folder_ / "a");
  write_file_atomic(folder_ / "a", "second");
  EXPECT_EQ(std::string(mapped.bytes().begin(), mapped.bytes().end()), "first");
}

}  // namespace
}  // namespace ddpm
