// Model folders of diffusers read and written again, and loaded by diffusers.
#include <gtest/gtest.h>

#include "ddpm/checkpoint/model_folder.h"
#include "support/run_python.h"

namespace ddpm {
namespace {

namespace fs = std::filesystem;
using testing::run_python;

TEST(ModelFolderParityTest, DiffusersLoadsWhatWeWriteOfItsFolders) {
  const fs::path root = fs::path(::testing::TempDir()) / "model_folder_parity";
  fs::remove_all(root);
  const fs::path theirs = root / "theirs";
  const fs::path ours = root / "ours";
  run_python({DDPM_SOURCE_DIR "/tests/parity/model_folder_write.py", theirs});
  ASSERT_TRUE(fs::is_directory(theirs));
  ModelFolder folder;
  for (const auto& entry : fs::directory_iterator(theirs)) {
    folder = read_model_folder(entry.path());
    const auto hash = write_model_folder(ours / entry.path().filename(), folder);
    EXPECT_EQ(hash, folder.model_hash);
  }
  folder.diffusion = {.schedule = ScheduleKind::kJsd, .num_timesteps = 4, .betas = {}};
  folder.betas = {1.0 / 4, 1.0 / 3, 1.0 / 2, 1.0};
  write_model_folder(ours / "jsd", folder);
  run_python({DDPM_SOURCE_DIR "/tests/parity/model_folder_check.py", theirs, ours});
}

}  // namespace
}  // namespace ddpm
