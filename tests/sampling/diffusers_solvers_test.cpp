#include <ATen/ATen.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <fstream>
#include <stdexcept>
#include <string>

#include "ddpm/sampling/sampler_state.h"
#include "sampling/sampler_cases.h"
#include "support/tensor_matchers.h"

// Numbers that diffusers 0.42.1 gave; tests/parity/diffusers_solvers.py writes them.
namespace ddpm {
namespace {

using nlohmann::json;
using testing::long_schedule;
using testing::tensors_near;

const json& solver_fixture() {
  static const json loaded = [] {
    std::ifstream file(DDPM_SOURCE_DIR "/tests/parity/diffusers_solvers.json");
    return json::parse(file);
  }();
  return loaded;
}

template <typename Enum>
Enum word_of(const std::string& word) {
  const auto& names = EnumNames<Enum>::names;
  const auto found = std::find(names.begin(), names.end(), word);
  if (found == names.end()) throw std::invalid_argument(word);
  return static_cast<Enum>(found - names.begin());
}

Tensor values_of(const json& values) {
  return at::tensor(values.get<std::vector<float>>(), at::kFloat)
      .view(solver_fixture().at("shape").get<std::vector<int64_t>>());
}

SamplerOptions solver_options(const json& c) {
  return {.kind = word_of<SamplerKind>(c.at("kind")),
          .steps = c.at("steps"),
          .order = c.value("order", 0),
          .lower_order_final = c.at("last_sigma") == 0,
          .unipc = word_of<UnipcVariant>(c.value("unipc", "bh2")),
          .clip = X0Clip::kNone};
}

/// The levels that diffusers visited: its timesteps, at its sigmas where it has some.
std::vector<NoiseLevel> levels_of(const json& c) {
  const LevelTable table = make_level_table(long_schedule());
  std::vector<NoiseLevel> levels;
  for (const json& level : c.at("levels")) {
    const double t = level[0];
    levels.push_back(level[1].is_null() ? level_at_timestep(table, t)
                                        : NoiseLevel{t, alpha_bar_of_sigma(level[1])});
  }
  levels.push_back({-1, alpha_bar_of_sigma(c.at("last_sigma"))});
  return levels;
}

/// The network of the fixture's script.
Tensor answer(const Tensor& x, double t) { return x * (0.6 + 0.3 * t / 1000) - 0.1; }

std::string name_of(json c) {
  for (const char* numbers : {"x", "levels"}) c.erase(numbers);
  return c.dump();
}

TEST(DiffusersSolversTest, EveryStepOfEverySolver) {
  const json& f = solver_fixture();
  ASSERT_GT(f.at("cases").size(), 50U);
  for (const json& c : f.at("cases")) {
    SCOPED_TRACE(name_of(c));
    const SamplerOptions options = solver_options(c);
    const auto plan = make_sampler_plan(
        long_schedule(), word_of<PredictionType>(c.at("prediction")), options, levels_of(c));
    ASSERT_EQ(plan.calls.size(), c.at("x").size());
    SamplerState state{.x = values_of(f.at("x_T"))};
    for (size_t i = 0; i < plan.calls.size(); ++i) {
      const Tensor output = answer(state.x, plan.calls[i].level.t);
      state = advance(plan, options, state, output, values_of(f.at("noise")[i])).state;
      const Tensor expected = values_of(c.at("x")[i]);
      const double size = std::max(1.0, expected.abs().max().item<double>());
      EXPECT_TRUE(tensors_near(state.x, expected, 1e-4 * size)) << "call " << i;
    }
  }
}

TEST(DiffusersSolversTest, SigmaListsAreThoseOfDiffusers) {
  int64_t compared = 0;
  for (const json& c : solver_fixture().at("cases")) {
    if (!c.contains("levels_are")) continue;
    SCOPED_TRACE(name_of(c));
    SamplerOptions options = solver_options(c);
    options.levels = word_of<LevelSpacing>(c.at("levels_are"));
    // diffusers' Euler takes the sigma of its last timestep for the lowest.
    if (options.kind == SamplerKind::kEuler) options.sigma_min = c.at("levels").back()[1];
    const auto levels = make_levels(long_schedule(), options);
    ASSERT_EQ(levels.size(), c.at("levels").size() + 1);
    for (size_t i = 0; i + 1 < levels.size(); ++i) {
      const double sigma = c.at("levels")[i][1];
      EXPECT_NEAR(edm_sigma(levels[i].alpha_bar) / sigma, 1, 1e-4);
      EXPECT_NEAR(levels[i].t, c.at("levels")[i][0].get<double>(), 0.97);  // cut or rounded by some
    }
    ++compared;
  }
  EXPECT_EQ(compared, 5);
}

}  // namespace
}  // namespace ddpm
