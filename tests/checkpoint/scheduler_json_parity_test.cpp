// Scheduler files of diffusers read and written again, and ours loaded by diffusers.
#include <gtest/gtest.h>

#include <filesystem>
#include <string>

#include "ddpm/checkpoint/scheduler_json.h"
#include "ddpm/checkpoint/scheduler_sampler.h"
#include "support/run_python.h"

namespace ddpm {
namespace {

namespace fs = std::filesystem;
using testing::run_python;

constexpr const char* kScript = DDPM_SOURCE_DIR "/tests/parity/scheduler_configs.py";
constexpr const char* kFile = "scheduler_config.json";

class SchedulerJsonParityTest : public ::testing::Test {
 protected:
  void SetUp() override { fs::remove_all(root_); }
  void TearDown() override { fs::remove_all(root_); }

  /// Writes a scheduler's file in a folder of its own.
  void write(const std::string& folder, const SchedulerFile& file) const {
    fs::create_directories(root_ / folder);
    write_scheduler_file(root_ / folder / kFile, file, {});
  }

  fs::path root_ = fs::path(::testing::TempDir()) / "ddpm-scheduler-json-parity";
};

TEST_F(SchedulerJsonParityTest, EveryFileOfDiffusersIsKeptKeyByKey) {
  run_python({kScript, "write", root_ / "theirs"});
  ASSERT_TRUE(fs::is_directory(root_ / "theirs"));
  for (const auto& entry : fs::directory_iterator(root_ / "theirs")) {
    const SchedulerFile file = read_scheduler_file(entry.path() / kFile);
    write("ours/" + entry.path().filename().string(), file);
    const bool swapped = entry.path().filename() == "swapped";
    EXPECT_EQ(file.unused_keys,
              swapped ? std::vector<std::string>{"clip_sample"} : std::vector<std::string>{});
  }
  run_python({kScript, "same", root_ / "theirs", root_ / "ours"});
}

TEST_F(SchedulerJsonParityTest, EverySamplersSchedulerLoadsAndIsReadBack) {
  const SchedulerOptions from{.timestep_spacing = TimestepSpacing::kTrailing};
  for (size_t i = 0; i < EnumNames<SamplerKind>::names.size(); ++i) {
    const auto kind = static_cast<SamplerKind>(i);
    const std::string name = enum_word(kind);
    const SchedulerFile file{
        .diffusion = {},
        .options = scheduler_of_sampler(kind, from, VarianceType::kFixedSmall).options};
    write(name, file);
    EXPECT_EQ(read_scheduler_file(root_ / name / kFile).options, file.options) << name;
  }
  run_python({kScript, "loads", root_});
}

}  // namespace
}  // namespace ddpm
