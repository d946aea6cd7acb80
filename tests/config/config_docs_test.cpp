#include "ddpm/config/config_docs.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>

#include "config/every_type_config.h"
#include "ddpm/config/run_config.h"
#include "ddpm/config/sample_config.h"
#include "ddpm/core/file.h"

namespace ddpm {
namespace {

using ::testing::HasSubstr;

TEST(ConfigDocsTest, TheCommittedPageIsTheGeneratedOne) {
  const std::string path = DDPM_SOURCE_DIR "/docs/config.md";
  if (std::getenv("DDPM_UPDATE_DOCS") != nullptr) write_file_atomic(path, config_markdown());
  EXPECT_EQ(read_text_file(path), config_markdown())
      << "run this test again with DDPM_UPDATE_DOCS=1 and commit docs/config.md";
}

TEST(ConfigDocsTest, ThePageHasEveryField) {
  RunConfig config;
  const std::string page = config_markdown();
  for (const Field& field : list_fields(config)) {
    const bool is_section = field.type == FieldType::kSection;
    const std::string name = field.key.substr(field.key.rfind('.') + 1);
    EXPECT_THAT(page, HasSubstr(is_section ? "## [" + field.key + "]" : "| `" + name + "` |"));
    EXPECT_THAT(page, HasSubstr(field.help));
  }
}

TEST(ConfigDocsTest, ThePageEndsWithTheFlagsOfSample) {
  SamplerOptions sampler;
  const std::string page = config_markdown();
  const std::string section = page.substr(page.rfind("\n## "));
  EXPECT_THAT(section, HasSubstr("## sampler (flags of `ddpm sample`)"));
  EXPECT_THAT(section, HasSubstr("| `--sampler` | one of ddpm, ddim, "));
  EXPECT_THAT(section, HasSubstr("| `--dynamic-ratio` | number from 0 to 1 | `0.995` | "));
  for (const Field& field : list_fields(sampler)) {
    EXPECT_THAT(section, HasSubstr("| `" + sampler_flag(field.key) + "` | "));
  }
}

TEST(ConfigDocsTest, HelpGivesDefaultMeaningAndWhatIsTaken) {
  const std::string help = field_help(EveryTypeConfig{});
  EXPECT_THAT(help,
              HasSubstr("  inner.ratio = 0.1\n      between two fields (number from 0 to 1)\n"));
  EXPECT_THAT(help,
              HasSubstr("  colour = \"red\"\n      red | dark green (one of red, dark_green)"));
  EXPECT_THAT(help,
              HasSubstr("  integers = [1,2]\n      integers (list, each integer at least 1)"));
}

}  // namespace
}  // namespace ddpm
