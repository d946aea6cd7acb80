#include "ddpm/checkpoint/atomic_folder.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cerrno>
#include <stdexcept>
#include <unistd.h>

#include "checkpoint/contents_of_step.h"
#include "ddpm/checkpoint/replace_folder.h"
#include "ddpm/core/file.h"

namespace ddpm {
namespace {

namespace fs = std::filesystem;
using testing::contents_of_step;
using ::testing::ElementsAre;
using testing::expect_contents_of_step;
using ::testing::IsEmpty;
using ::testing::UnorderedElementsAre;

class AtomicFolderTest : public ::testing::Test {
 protected:
  void SetUp() override {
    fs::remove_all(parent_);
    fs::create_directories(parent_);
  }
  void TearDown() override { fs::remove_all(parent_); }

  static void make_folder(const fs::path& folder, const std::string& content) {
    fs::create_directories(folder);
    write_file_atomic(folder / "content", content);
  }

  std::vector<std::string> names() const {
    std::vector<std::string> found;
    for (const auto& entry : fs::directory_iterator(parent_)) {
      found.push_back(entry.path().filename());
    }
    return found;
  }

  std::string content(const std::string& name) const {
    return read_text_file(parent_ / name / "content");
  }

  const fs::path parent_ =
      fs::path(::testing::TempDir()) / ("atomic_folder_test_" + std::to_string(getpid()));
};

TEST_F(AtomicFolderTest, AppearsAtCommitOrNotAtAll) {
  {
    const AtomicFolder folder(parent_ / "given_up");
    write_file_atomic(folder.path() / "content", std::string_view("half"));
    EXPECT_EQ(names().size(), 1u);
    EXPECT_EQ(names()[0].front(), '.');
  }
  EXPECT_THAT(names(), IsEmpty());
  AtomicFolder folder(parent_ / "done" / "");
  write_file_atomic(folder.path() / "content", std::string_view("whole"));
  folder.commit();
  EXPECT_THAT(names(), ElementsAre("done"));
  EXPECT_EQ(content("done"), "whole");
}

TEST_F(AtomicFolderTest, ReplacesWithoutALeftover) {
  make_folder(parent_ / "a", "old");
  write_file_atomic(parent_ / "a" / "only_in_old", std::string_view(""));
  AtomicFolder folder(parent_ / "a");
  write_file_atomic(folder.path() / "content", std::string_view("new"));
  folder.commit();
  EXPECT_THAT(names(), ElementsAre("a"));
  EXPECT_EQ(content("a"), "new");
  EXPECT_FALSE(fs::exists(parent_ / "a" / "only_in_old"));
}

/// Where a process is killed between the two renames of a file system that can't exchange.
struct Killed {};

TEST_F(AtomicFolderTest, ANewWriterRestoresWhatAKillLeftBetweenTwoRenames) {
  make_folder(parent_ / "a", "old");
  make_folder(parent_ / ".a.tmp-7-7-7-0", "new");
  RenameCalls calls = system_rename_calls();
  calls.exchange = [](const fs::path&, const fs::path&) { return EINVAL; };
  calls.rename = [this, rename = calls.rename](const fs::path& from, const fs::path& to) {
    if (to == parent_ / "a") throw Killed();
    return rename(from, to);
  };
  const fs::path aside = parent_ / ".a.old-7-7-7-1";
  EXPECT_THROW(replace_folder(parent_ / ".a.tmp-7-7-7-0", parent_ / "a", aside, calls), Killed);
  EXPECT_THAT(names(), UnorderedElementsAre(".a.tmp-7-7-7-0", ".a.old-7-7-7-1"));

  { const AtomicFolder folder(parent_ / "a"); }
  EXPECT_EQ(content("a"), "old");
  remove_stale_folders(parent_);
  EXPECT_THAT(names(), ElementsAre("a"));
}

TEST_F(AtomicFolderTest, SweepingRestoresFirstAndThenRemoves) {
  make_folder(parent_ / ".a.old-7-7-7-1", "old a");
  make_folder(parent_ / ".a.tmp-7-7-7-0", "half of a");
  make_folder(parent_ / "b", "new b");  // killed after the second rename
  make_folder(parent_ / ".b.old-7-7-7-2", "old b");
  remove_stale_folders(parent_, "a");
  EXPECT_THAT(names(), UnorderedElementsAre("a", "b", ".b.old-7-7-7-2"));
  EXPECT_EQ(content("a"), "old a");
  remove_stale_folders(parent_);
  EXPECT_THAT(names(), UnorderedElementsAre("a", "b"));
  EXPECT_EQ(content("b"), "new b");
}

TEST_F(AtomicFolderTest, SweepingLeavesFoldersInUseAndOtherNames) {
  const AtomicFolder in_use(parent_ / "a");
  make_folder(parent_ / ".hidden", "");
  make_folder(parent_ / "a.tmp-7-7-7-0", "no leading dot");
  make_folder(parent_ / ".a.tmp-b.tmp-7-7-7-0", "of a.tmp-b");
  remove_stale_folders(parent_, "a");
  EXPECT_THAT(names(), UnorderedElementsAre(in_use.path().filename().string(), ".hidden",
                                            "a.tmp-7-7-7-0", ".a.tmp-b.tmp-7-7-7-0"));
  remove_stale_folders(parent_, "a.tmp-b");
  EXPECT_FALSE(fs::exists(parent_ / ".a.tmp-b.tmp-7-7-7-0"));
}

TEST_F(AtomicFolderTest, ListingRestoresACheckpointThatWasBeingReplaced) {
  const fs::path step = write_checkpoint(parent_, 5, contents_of_step(5));
  fs::rename(step, step.parent_path() / ".step-00000005.old-7-7-7-1");
  const auto entries = list_checkpoints(parent_);
  ASSERT_EQ(entries.size(), 1u);
  expect_contents_of_step(read_checkpoint(entries[0].folder), 5);
}

}  // namespace
}  // namespace ddpm
