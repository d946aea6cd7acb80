#include <gtest/gtest.h>

#include <random>

#include "config/every_type_config.h"
#include "ddpm/config/json_config.h"
#include "ddpm/config/toml_config.h"

namespace ddpm {
namespace {

using Engine = std::mt19937;

size_t below(Engine& engine, size_t n) { return engine() % n; }

/// Removes, doubles, swaps or replaces a few pieces of `text`.
std::string mutated(std::string text, Engine& engine) {
  static const std::vector<std::string> kPieces{"[",  "]",   "{",   "}",      "=",     "\"",  "'",
                                                "\n", "\\u", "nan", "-inf",   "1e999", ".",   ",",
                                                "#",  "[[",  "0x",  "\"\"\"", "\xff",  "true"};
  for (size_t edits = 1 + below(engine, 4); edits > 0; --edits) {
    const size_t at = below(engine, text.size() + 1);
    const size_t length = below(engine, 12);
    switch (below(engine, 4)) {
      case 0:
        text.erase(at, length);
        break;
      case 1:
        text.insert(at, kPieces[below(engine, kPieces.size())]);
        break;
      case 2:
        text.insert(at, text.substr(below(engine, text.size() + 1), length));
        break;
      default:
        if (at < text.size()) text[at] = static_cast<char>(below(engine, 256));
    }
  }
  return text;
}

/// Either the text is refused in one sentence, or what was read can be written and read again.
template <typename Config>
bool is_refused_or_round_trips(const std::string& text, const std::vector<std::string>& overrides) {
  std::string written;
  try {
    written = to_toml(from_toml<Config>(text, "x.toml", overrides));
  } catch (const std::invalid_argument& error) {
    const std::string message = error.what();
    EXPECT_TRUE(message.starts_with("[")) << message;
    EXPECT_EQ(message.substr(0, message.find("] ")).find('\n'), std::string::npos) << message;
    return true;
  }
  EXPECT_EQ(to_toml(from_toml<Config>(written, "x.toml")), written) << text;
  return false;
}

TEST(TomlFuzzTest, MutatedRecipesAreRefusedOrRoundTrip) {
  Engine engine(1);
  const std::string recipe = to_toml(RunConfig{});
  const std::string every_type = to_toml(EveryTypeConfig{});
  int refused = 0;
  constexpr int kRuns = 1500;
  for (int run = 0; run < kRuns; ++run) {
    refused += is_refused_or_round_trips<EveryTypeConfig>(mutated(every_type, engine), {}) ? 1 : 0;
    if (run % 8 == 0) is_refused_or_round_trips<RunConfig>(mutated(recipe, engine), {});
  }
  EXPECT_GT(refused, kRuns / 10);
  EXPECT_LT(refused, kRuns * 9 / 10);
}

TEST(TomlFuzzTest, MutatedOverridesAreRefusedOrRoundTrip) {
  Engine engine(2);
  const std::vector<std::string> overrides{"inner.ratio=0.5", "integers=[1, 2]", "text=\"a\\nb\"",
                                           "colour=red", "inner={ratio = 1}"};
  for (int run = 0; run < 3000; ++run) {
    const std::string& start = overrides[below(engine, overrides.size())];
    is_refused_or_round_trips<EveryTypeConfig>("", {mutated(start, engine)});
  }
}

TEST(TomlFuzzTest, DeepNestingIsRefused) {
  constexpr size_t kDepth = 100'000;
  EXPECT_TRUE(is_refused_or_round_trips<RunConfig>("x = " + std::string(kDepth, '['), {}));
  EXPECT_TRUE(is_refused_or_round_trips<RunConfig>("", {"train=" + std::string(kDepth, '[')}));
  std::string dotted = "a";
  for (size_t i = 0; i < 2000; ++i) dotted += ".a";
  EXPECT_TRUE(is_refused_or_round_trips<RunConfig>("", {dotted + "=1"}));
}

}  // namespace
}  // namespace ddpm
