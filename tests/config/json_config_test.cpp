#include "ddpm/config/json_config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>

#include "config/config_error.h"
#include "config/every_type_config.h"
#include "ddpm/config/run_config.h"

namespace ddpm {
namespace {

using nlohmann::json;
using testing::config_error;

std::string error_of(const json& object) {
  return config_error([&] { config_from_json<EveryTypeConfig>(object, "config.json"); });
}

TEST(JsonConfigTest, WritesWordsForEnumsAndObjectsForSections) {
  const json expected = json::parse(R"({
    "flag": false, "inner": {"ratio": 0.1}, "integer": -3, "count": 7, "number": 2.5,
    "text": "plain", "colour": "red", "integers": [1, 2], "numbers": [], "colours": ["dark_green"]
  })");
  EXPECT_EQ(config_to_json(EveryTypeConfig{}), expected);
}

TEST(JsonConfigTest, ReadsEveryType) {
  const auto config = config_from_json<EveryTypeConfig>(
      json::parse(R"({"flag": true, "inner": {"ratio": 1}, "integer": 5, "count": 9,
                      "number": 1e-3, "text": "", "colour": "dark_green", "integers": [],
                      "numbers": [1, 0.5], "colours": ["red", "dark_green"]})"),
      "config.json");
  EXPECT_TRUE(config.flag);
  EXPECT_EQ(config.inner.ratio, 1.0);
  EXPECT_EQ(config.integer, 5);
  EXPECT_EQ(config.count, 9U);
  EXPECT_EQ(config.number, 1e-3);
  EXPECT_EQ(config.text, "");
  EXPECT_EQ(config.colour, Colour::kDarkGreen);
  EXPECT_TRUE(config.integers.empty());
  EXPECT_EQ(config.numbers, (std::vector<double>{1, 0.5}));
  EXPECT_EQ(config.colours, (std::vector<Colour>{Colour::kRed, Colour::kDarkGreen}));
}

TEST(JsonConfigTest, AbsentFieldsKeepTheirDefaults) {
  const auto config = config_from_json<RunConfig>({{"train", {{"steps", 7}}}}, "config.json");
  EXPECT_EQ(config.train.steps, 7);
  EXPECT_EQ(config.train.batch_size, 128);
}

TEST(JsonConfigTest, ReadingWhatWasWrittenGivesTheSame) {
  RunConfig config;
  config.optimizer.lr = 0.1 + 0.2;
  config.train.seed = uint64_t{1} << 62;
  config.model.unet2d.block_out_channels = {1, 2, 3};
  const json written = config_to_json(config);
  EXPECT_EQ(config_to_json(config_from_json<RunConfig>(json::parse(written.dump()), "config.json")),
            written);
}

TEST(JsonConfigTest, NamesWhatIsWrong) {
  EXPECT_EQ(error_of({{"flags", true}}),
            "[config.json] unknown field 'flags': expected one of the known fields (did you mean "
            "'flag'?)");
  EXPECT_EQ(error_of({{"inner", {{"number", 1}}}}),
            "[config.json] unknown field 'inner.number': expected one of the known fields (did you "
            "mean 'number'?)");
  EXPECT_EQ(error_of({{"inner", {{"xyz", 1}}}}),
            "[config.json] unknown field 'inner.xyz': expected one of inner.ratio");
  EXPECT_EQ(error_of({{"flag", 1}}),
            "[config.json] wrong type for 'flag': expected true or false, got 1");
  EXPECT_EQ(error_of({{"integer", 1.0}}),
            "[config.json] wrong type for 'integer': expected integer, got 1");
  EXPECT_EQ(error_of({{"integers", {3, 0}}}),
            "[config.json] out of range: expected 'integers[1]' to be a finite integer at least 1, "
            "got 0");
  EXPECT_EQ(error_of({{"colour", "rad"}}),
            "[config.json] unknown word for 'colour': expected one of red, dark_green, got 'rad' "
            "(did you mean 'red'?)");
  EXPECT_EQ(error_of({{"colours", "red"}}),
            "[config.json] wrong type for 'colours': expected list, each one of red, dark_green, "
            "got the text \"red\"");
  EXPECT_EQ(error_of({{"inner", 3}}),
            "[config.json] wrong type for 'inner': expected table, got 3");
  EXPECT_EQ(error_of(json::array()), "[config.json] wrong type: expected a table, got the list []");
}

TEST(JsonConfigTest, RefusesNumbersThatNoRangeHolds) {
  constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
  constexpr double kInfinity = std::numeric_limits<double>::infinity();
  for (const json& value : {json(kNan), json(kInfinity), json(-kInfinity)}) {
    EXPECT_THAT(error_of({{"number", value}}), ::testing::HasSubstr("out of range"));
    EXPECT_THAT(error_of({{"inner", {{"ratio", value}}}}), ::testing::HasSubstr("from 0 to 1"));
  }
  EXPECT_THAT(error_of({{"count", -1}}), ::testing::HasSubstr("out of range"));
  EXPECT_THAT(error_of({{"count", std::numeric_limits<uint64_t>::max()}}),
              ::testing::HasSubstr("out of range"));
  EXPECT_THAT(error_of({{"integer", std::numeric_limits<uint64_t>::max()}}),
              ::testing::HasSubstr("out of range"));
  EXPECT_EQ(error_of({{"integer", std::numeric_limits<int64_t>::max()}}), "no error");
}

TEST(JsonConfigTest, AKeyWithADotIsNoPath) {
  EXPECT_THAT(error_of({{"inner.ratio", 0.5}}),
              ::testing::HasSubstr("unknown field 'inner.ratio'"));
}

TEST(JsonConfigTest, NothingIsSetIfAnythingIsWrong) {
  EveryTypeConfig config;
  const json values{{"integer", 5}, {"text", 3}};
  EXPECT_THROW(
      assign_fields(list_fields(config), {.values = values, .name = "config.json", .origins = {}}),
      std::invalid_argument);
  EXPECT_EQ(config.integer, -3);
}

}  // namespace
}  // namespace ddpm
