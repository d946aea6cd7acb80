#include "ddpm/config/toml_config.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <limits>

#include "config/every_type_config.h"
#include "ddpm/config/json_config.h"

namespace ddpm {
namespace {

std::string toml_of(const EveryTypeConfig& config) { return to_toml(config); }

TEST(TomlConfigTest, EmptyTextGivesTheDefaults) {
  EXPECT_EQ(config_to_json(from_toml<RunConfig>("", "x.toml")), config_to_json(RunConfig{}));
}

TEST(TomlConfigTest, WritesEachFieldWithItsHelpAndFieldsBeforeSections) {
  EXPECT_EQ(toml_of({}), R"(# a flag
flag = false
# an integer
integer = -3
# a count
count = 7
# a number
number = 2.5
# a text
text = "plain"
# red | dark green
colour = "red"
# integers
integers = [1, 2]
# numbers
numbers = []
# colours
colours = ["dark_green"]

# a section
[inner]
# between two fields
ratio = 0.1
)");
}

TEST(TomlConfigTest, ReadingWhatWasWrittenGivesTheSame) {
  EveryTypeConfig config;
  config.flag = true;
  config.inner.ratio = 1.0 / 3;
  config.integer = std::numeric_limits<int64_t>::min();
  config.count = std::numeric_limits<int64_t>::max();
  config.colour = Colour::kDarkGreen;
  config.integers = {};
  config.colours = {Colour::kRed, Colour::kRed};
  for (const double number : {0.0, -0.5, 1e-4, 1e-300, 5e-324, 1e15, 1e16, 1e22, 1.7e308, 100.0}) {
    config.number = number;
    config.numbers = {number, 1};
    const std::string text = toml_of(config);
    const auto again = from_toml<EveryTypeConfig>(text, "x.toml");
    EXPECT_EQ(again.number, number) << text;
    EXPECT_EQ(config_to_json(again), config_to_json(config)) << text;
    EXPECT_EQ(toml_of(again), text);
  }
}

TEST(TomlConfigTest, TextOfAnyKindComesBack) {
  for (const std::string& text :
       {std::string("a \"quoted\" \\ path"), std::string("two\nlines\r\n\ttab"),
        std::string("\x7f\x1b\x01", 3), std::string("\0zero", 5),
        std::string("\u00e9 \U0001F600")}) {
    EveryTypeConfig config;
    config.text = text;
    EXPECT_EQ(from_toml<EveryTypeConfig>(toml_of(config), "x.toml").text, text);
  }
}

TEST(TomlConfigTest, ValuesThatTomlCannotHoldAreRefused) {
  EveryTypeConfig config;
  config.count = uint64_t{1} << 63;
  EXPECT_THROW(toml_of(config), std::invalid_argument);
  config = {};
  config.number = std::numeric_limits<double>::infinity();
  EXPECT_THROW(toml_of(config), std::invalid_argument);
}

TEST(TomlConfigTest, AWholeRunComesBack) {
  RunConfig config = parse_recipe("[train]\nsteps = 3\n[model.unet2d]\ndropout = 0.1", "x.toml");
  EXPECT_EQ(config.train.steps, 3);
  EXPECT_EQ(config.model.unet2d.dropout, 0.1);
  const std::string text = to_toml(config);
  EXPECT_EQ(to_toml(parse_recipe(text, "x.toml")), text);
}

TEST(TomlConfigTest, AnIntegerIsANumberToo) {
  EXPECT_EQ(from_toml<EveryTypeConfig>("number = 3", "x.toml").number, 3.0);
}

TEST(TomlConfigTest, OverridesWinOverTheFileAndTheLastOverTheOthers) {
  const RunConfig config = parse_recipe("[train]\nsteps = 3\nbatch_size = 8", "x.toml",
                                        {"train.steps=4", "train.steps=5", "optimizer.lr=1e-3"});
  EXPECT_EQ(config.train.steps, 5);
  EXPECT_EQ(config.train.batch_size, 8);
  EXPECT_EQ(config.optimizer.lr, 1e-3);
}

TEST(TomlConfigTest, OverridesTakeTomlValuesAndBareWords) {
  const auto config = from_toml<EveryTypeConfig>(
      "", "x.toml",
      {"flag=true", "integers=[4, 5]", "colours=[\"red\"]", "colour=dark_green", "inner.ratio=1"});
  EXPECT_TRUE(config.flag);
  EXPECT_EQ(config.integers, (std::vector<int64_t>{4, 5}));
  EXPECT_EQ(config.colours, (std::vector<Colour>{Colour::kRed}));
  EXPECT_EQ(config.colour, Colour::kDarkGreen);
  EXPECT_EQ(config.inner.ratio, 1.0);
}

TEST(TomlConfigTest, AnOverrideTakesAnyPathAsText) {
  for (const std::string text :
       {"/data/my images", "cuda:1", "a=b", "2024-01-01", "", "x.y/z", "value", "a\nflag = true"}) {
    const auto config = from_toml<EveryTypeConfig>("", "x.toml", {"text=" + text});
    EXPECT_EQ(config.text, text);
    EXPECT_FALSE(config.flag);
  }
  EXPECT_EQ(from_toml<EveryTypeConfig>("", "x.toml", {"text=\"12\""}).text, "12");
}

TEST(TomlConfigTest, AnOverrideOfASectionKeepsTheOtherFields) {
  const RunConfig config =
      parse_recipe("[train]\nbatch_size = 8", "x.toml", {"train={steps = 2, seed = 9}"});
  EXPECT_EQ(config.train.steps, 2);
  EXPECT_EQ(config.train.seed, 9U);
  EXPECT_EQ(config.train.batch_size, 8);
}

TEST(TomlConfigTest, LoadsAFile) {
  const auto path = std::filesystem::path(::testing::TempDir()) / "toml_config_test.toml";
  std::ofstream(path) << "[train]\nsteps = 12\n";
  EXPECT_EQ(load_recipe(path, {"train.seed=3"}).train.steps, 12);
  EXPECT_EQ(load_recipe(path, {"train.seed=3"}).train.seed, 3U);
}

}  // namespace
}  // namespace ddpm
