#pragma once

#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <string>
#include <unistd.h>
#include <vector>

#include "ddpm/core/file.h"

namespace ddpm::testing {

/// Runs .venv/bin/python with `arguments` (none holds a quote); fails the test with what it
/// printed.
inline void run_python(const std::vector<std::string>& arguments) {
  const std::filesystem::path log =  // tests run side by side
      ::testing::TempDir() + "/python-" + std::to_string(getpid()) + ".log";
  std::string command = DDPM_SOURCE_DIR "/.venv/bin/python";
  for (const auto& argument : arguments) command += " '" + argument + "'";
  command += " >'" + log.string() + "' 2>&1";
  EXPECT_EQ(std::system(command.c_str()), 0) << command << "\n" << read_text_file(log);
  std::filesystem::remove(log);
}

}  // namespace ddpm::testing
