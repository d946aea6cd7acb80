#include <gtest/gtest.h>

#include <filesystem>

#include "ddpm/config/toml_config.h"

namespace ddpm {
namespace {

TEST(RecipesTest, EveryRecipeIsValid) {
  int recipes = 0;
  for (const auto& file : std::filesystem::directory_iterator(DDPM_SOURCE_DIR "/recipes")) {
    if (file.path().extension() != ".toml") continue;
    ++recipes;
    EXPECT_NO_THROW(load_recipe(file.path())) << file.path();
  }
  EXPECT_GE(recipes, 11);
}

}  // namespace
}  // namespace ddpm
