#include "ddpm/checkpoint/checkpoint_folder.h"

#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <stdexcept>

#include "checkpoint/contents_of_step.h"
#include "checkpoint/safetensors_bytes.h"
#include "ddpm/core/file.h"

namespace ddpm {
namespace {

namespace fs = std::filesystem;
using ::testing::AllOf;
using testing::contents_of_step;
using ::testing::ElementsAre;
using testing::expect_contents_of_step;
using ::testing::HasSubstr;
using testing::message_of;

class CheckpointFolderTest : public ::testing::Test {
 protected:
  void SetUp() override {
    run_ = fs::path(::testing::TempDir()) / "checkpoint_folder_run";
    fs::remove_all(run_);
  }

  std::vector<std::int64_t> steps() const {
    std::vector<std::int64_t> steps;
    for (const auto& entry : list_checkpoints(run_)) steps.push_back(entry.step);
    return steps;
  }

  /// Changes one bit in the middle of a file of a checkpoint.
  static void damage(const fs::path& file) {
    auto bytes = read_binary_file(file);
    bytes[bytes.size() / 2] ^= 1;
    write_file_atomic(file, bytes);
  }

  fs::path run_;
};

TEST_F(CheckpointFolderTest, ContentsComeBackAsTheyWereWritten) {
  const fs::path folder = write_checkpoint(run_, 1000, contents_of_step(1000));
  EXPECT_EQ(folder.filename(), "step-00001000");
  const CheckpointContents contents = read_checkpoint(folder);
  expect_contents_of_step(contents, 1000);
  EXPECT_EQ(contents.ema_hash, sha256_file(folder / "ema.safetensors"));
  EXPECT_EQ(contents.weights_hash, sha256_file(folder / "model.safetensors"));
}

TEST_F(CheckpointFolderTest, NumbersOfTheStateKeepTheirBits) {
  CheckpointContents contents;
  contents.state = {{"seed", ~std::uint64_t{0}}, {"ema_power", 0.1 + 0.2}, {"tiny", 5e-324}};
  contents.recipe = nlohmann::json::object();
  EXPECT_EQ(read_checkpoint(write_checkpoint(run_, 0, contents)).state, contents.state);
}

TEST_F(CheckpointFolderTest, ListIsSortedByStepAndSkipsOtherNames) {
  EXPECT_THAT(steps(), ElementsAre());
  for (const std::int64_t step : {5, 20, 100'000'000}) {
    write_checkpoint(run_, step, contents_of_step(step));
  }
  fs::create_directories(run_ / "checkpoints" / "step-7");
  fs::create_directories(run_ / "checkpoints" / "step-0000000x");
  std::ofstream(run_ / "checkpoints" / "step-00000009") << "a file";
  EXPECT_THAT(steps(), ElementsAre(5, 20, 100'000'000));
}

TEST_F(CheckpointFolderTest, TheSameStepIsReplaced) {
  write_checkpoint(run_, 3, contents_of_step(4));
  write_checkpoint(run_, 3, contents_of_step(3));
  expect_contents_of_step(read_checkpoint(list_checkpoints(run_).at(0).folder), 3);
  EXPECT_EQ(std::distance(fs::directory_iterator(run_ / "checkpoints"), {}), 1);
}

TEST_F(CheckpointFolderTest, NegativeNumbersAreTheCallersMistake) {
  EXPECT_THROW(write_checkpoint(run_, -1, {}), std::invalid_argument);
  EXPECT_THROW(prune_checkpoints(run_, -1), std::invalid_argument);
}

TEST_F(CheckpointFolderTest, DamageNamesTheFileAndTheReason) {
  const fs::path folder = write_checkpoint(run_, 1, contents_of_step(1));
  const auto reason = [&] {
    return message_of<std::runtime_error>([&] { read_checkpoint(folder); });
  };
  EXPECT_EQ(reason(), "");
  for (const char* name : {"model.safetensors", "ema.safetensors", "optimizer.safetensors",
                           "state.json", "recipe.json"}) {
    const auto sound = read_binary_file(folder / name);
    damage(folder / name);
    EXPECT_THAT(reason(), AllOf(HasSubstr(name), HasSubstr("SHA-256")));
    write_file_atomic(folder / name, std::span(sound).first(sound.size() - 1));
    EXPECT_THAT(reason(), AllOf(HasSubstr(name), HasSubstr("size of")));
    fs::remove(folder / name);
    EXPECT_THAT(reason(), AllOf(HasSubstr(name), HasSubstr("No such file")));
    write_file_atomic(folder / name, sound);
  }
  EXPECT_EQ(reason(), "");
}

TEST_F(CheckpointFolderTest, UnsoundManifestsAreNamed) {
  const fs::path folder = write_checkpoint(run_, 1, contents_of_step(1));
  const fs::path path = folder / "manifest.json";
  const auto sound = nlohmann::json::parse(read_text_file(path));
  const auto reason = [&](const std::string& text) {
    write_file_atomic(path, std::string_view(text));
    const auto message = message_of<std::runtime_error>([&] { read_checkpoint(folder); });
    EXPECT_THAT(message, HasSubstr("manifest.json"));
    return message;
  };
  const auto with = [&](const char* pointer, const nlohmann::json& value) {
    auto changed = sound;
    changed[nlohmann::json::json_pointer(pointer)] = value;
    return reason(changed.dump());
  };
  EXPECT_THAT(reason(""), HasSubstr("syntax error"));
  EXPECT_THAT(reason("[]"), HasSubstr("expected an object"));
  EXPECT_THAT(reason(R"({"step":1,"step":2})"), HasSubstr("\"step\" twice"));
  EXPECT_THAT(reason(std::string(100'000, '[')), HasSubstr("levels"));
  EXPECT_THAT(with("/format", "zip"), HasSubstr("got zip"));
  EXPECT_THAT(with("/version", 2), HasSubstr("expected 1, got 2"));
  EXPECT_THAT(with("/step", 2), HasSubstr("as the folder's name says, got 2"));
  EXPECT_THAT(with("/step", 1.5), HasSubstr("whole number"));
  EXPECT_THAT(with("/files/state.json/size", "1"), HasSubstr("whole number"));
  EXPECT_THAT(with("/files/state.json/sha256", 1), HasSubstr("a string"));
  EXPECT_THAT(with("/files/..~1x", nlohmann::json::object()), HasSubstr("'../x'"));
  auto without_ema = sound;
  without_ema["files"].erase("ema.safetensors");
  EXPECT_THAT(reason(without_ema.dump()), HasSubstr("ema.safetensors"));
  fs::remove(path);
  EXPECT_THAT(message_of<std::runtime_error>([&] { read_checkpoint(folder); }),
              HasSubstr("manifest.json"));
}

TEST_F(CheckpointFolderTest, TheNewestIsFoundUnlessItIsDamaged) {
  EXPECT_FALSE(find_checkpoint(run_).has_value());
  for (const std::int64_t step : {1, 2, 3}) write_checkpoint(run_, step, contents_of_step(step));
  EXPECT_EQ(find_checkpoint(run_)->entry.step, 3);

  damage(list_checkpoints(run_)[2].folder / "optimizer.safetensors");
  EXPECT_THAT(message_of<std::runtime_error>([&] { find_checkpoint(run_); }),
              AllOf(HasSubstr("step-00000003/optimizer.safetensors"), HasSubstr("SHA-256"),
                    HasSubstr("--allow-older"), HasSubstr("step 2")));
  damage(list_checkpoints(run_)[1].folder / "state.json");
  const auto found = find_checkpoint(run_, /*allow_older=*/true);
  EXPECT_EQ(found->entry.step, 1);
  EXPECT_THAT(found->damaged, ElementsAre(HasSubstr("step-00000003"), HasSubstr("step-00000002")));

  damage(list_checkpoints(run_)[0].folder / "recipe.json");
  EXPECT_THAT(message_of<std::runtime_error>([&] { find_checkpoint(run_, /*allow_older=*/true); }),
              AllOf(HasSubstr("one that is whole"), HasSubstr("step-00000001/recipe.json")));
}

TEST_F(CheckpointFolderTest, GoingOnFromAnOlderOneMakesTheNextOneTheNewest) {
  for (const std::int64_t step : {1, 9}) write_checkpoint(run_, step, contents_of_step(step));
  damage(list_checkpoints(run_)[1].folder / "model.safetensors");
  write_checkpoint(run_, 2, contents_of_step(2));
  prune_checkpoints(run_, 1);
  EXPECT_THAT(steps(), ElementsAre(2));
  EXPECT_EQ(find_checkpoint(run_)->entry.step, 2);
  EXPECT_TRUE(fs::exists(run_ / "checkpoints" / "set-aside-step-00000009"));
}

TEST_F(CheckpointFolderTest, PruneKeepsTheNewestAndSweepsUp) {
  prune_checkpoints(run_, 2);  // nothing there yet
  for (std::int64_t step = 1; step <= 5; ++step) {
    write_checkpoint(run_, step, contents_of_step(step));
  }
  const fs::path stale = run_ / "checkpoints" / ".step-00000006.tmp-1-2-0";
  fs::create_directories(stale);
  std::ofstream(stale / "model.safetensors") << "half";
  prune_checkpoints(run_, 0);
  EXPECT_THAT(steps(), ElementsAre(1, 2, 3, 4, 5));
  EXPECT_FALSE(fs::exists(stale));
  prune_checkpoints(run_, 2);
  EXPECT_THAT(steps(), ElementsAre(4, 5));
  EXPECT_EQ(std::distance(fs::directory_iterator(run_ / "checkpoints"), {}), 2);
}

}  // namespace
}  // namespace ddpm
