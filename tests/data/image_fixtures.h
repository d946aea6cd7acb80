#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>
#include <vector>

#include "ddpm/core/file.h"
#include "ddpm/data/image.h"

namespace ddpm::testing {

inline constexpr int64_t kNoLimit = 1 << 24;

/// Runs image_fixtures.py; false if it failed.
inline bool run_fixtures(const std::string& arguments) {
  const std::string source_dir = DDPM_SOURCE_DIR;
  const std::string command =
      source_dir + "/.venv/bin/python " + source_dir + "/tests/data/image_fixtures.py " + arguments;
  return std::system(command.c_str()) == 0;
}

/// A folder of this process for files that a test makes.
inline std::string scratch_folder() {
  static const std::string folder = [] {
    std::string name = ::testing::TempDir() + "ddpm_image_XXXXXX";
    EXPECT_NE(mkdtemp(name.data()), nullptr);
    return name;
  }();
  return folder;
}

/// What image_fixtures.py made, once a process. Its README is the script's first lines.
inline std::string fixture(const std::string& name) {
  static const bool made = run_fixtures("make " + scratch_folder());
  EXPECT_TRUE(made) << "image_fixtures.py failed";
  return scratch_folder() + "/" + name;
}

/// The lines of a text file, each cut into words.
inline std::vector<std::vector<std::string>> read_table(const std::string& path) {
  std::ifstream file(path);
  std::vector<std::vector<std::string>> table;
  for (std::string line; std::getline(file, line);) {
    std::istringstream words(line);
    std::vector<std::string>& row = table.emplace_back();
    for (std::string word; words >> word;) row.push_back(word);
  }
  EXPECT_FALSE(table.empty()) << path;
  return table;
}

inline Image read_raw(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::array<int64_t, 3> shape{};
  for (int64_t& side : shape) file.read(reinterpret_cast<char*>(&side), sizeof side);
  Image image = Image::filled(shape[0], shape[1], shape[2]);
  file.read(reinterpret_cast<char*>(image.pixels.data()),
            static_cast<std::streamsize>(image.pixels.size()));
  EXPECT_TRUE(file.good()) << path;
  return image;
}

/// Passes if sizes agree and no value differs by more than `tolerance`.
inline ::testing::AssertionResult images_near(const Image& got, const Image& expected,
                                              int tolerance) {
  if (got.width != expected.width || got.height != expected.height ||
      got.channels != expected.channels || got.pixels.size() != expected.pixels.size()) {
    return ::testing::AssertionFailure()
           << "size " << got.width << " x " << got.height << " x " << got.channels << ", expected "
           << expected.width << " x " << expected.height << " x " << expected.channels;
  }
  int worst = 0;
  for (size_t i = 0; i < got.pixels.size(); ++i) {
    worst = std::max(worst, std::abs(int{got.pixels[i]} - int{expected.pixels[i]}));
  }
  if (worst <= tolerance) return ::testing::AssertionSuccess();
  return ::testing::AssertionFailure() << "largest difference " << worst << " > " << tolerance;
}

/// The message of the Error that `call` throws; fails the test if it throws none.
template <typename Error, typename Call>
std::string message_of(Call&& call) {
  try {
    call();
  } catch (const Error& error) {
    return error.what();
  }
  ADD_FAILURE() << "nothing was thrown";
  return "";
}

/// An image whose every value differs from its neighbours'.
inline Image counting_image(int64_t width, int64_t height, int64_t channels) {
  Image image = Image::filled(width, height, channels);
  for (size_t i = 0; i < image.pixels.size(); ++i) image.pixels[i] = static_cast<uint8_t>(i * 37);
  return image;
}

}  // namespace ddpm::testing
