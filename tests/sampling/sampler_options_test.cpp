#include "ddpm/sampling/sampler_options.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <sstream>
#include <stdexcept>

#include "ddpm/config/field_list.h"
#include "ddpm/sampling/sampler_plan.h"
#include "sampling/sampler_cases.h"

namespace ddpm {
namespace {

void print_row(std::ostream& text, const UpdateRow& row) {
  text << row.x << " " << row.pred_x_start << " " << row.noise;
  for (const double weight : row.memory) text << " " << weight;
}

/// All numbers of the plan, or that there is none.
std::string plan_text(const SamplerOptions& options) {
  std::ostringstream text;
  text.precision(17);
  try {
    const auto plan =
        make_sampler_plan(testing::long_schedule(), PredictionType::kEpsilon, options);
    for (const SamplerCall& call : plan.calls) {
      text << call.level.t << " " << call.level.alpha_bar << " " << call.next_level.alpha_bar;
      print_row(text, call.next);
      for (const MemoryWrite& write : call.writes) print_row(text << " " << write.slot, write.row);
      text << "\n";
    }
  } catch (const std::invalid_argument&) {
    return "none";
  }
  return text.str();
}

/// Options under which others count: timesteps that leave some out, sigmas with churn, an end at
/// noise, steps that groups of three divide.
std::vector<SamplerOptions> contexts(SamplerKind kind) {
  std::vector<SamplerOptions> all{
      {.kind = kind,
       .steps = 10,
       .spacing = TimestepSpacing::kLeading,
       .levels = LevelSpacing::kTimesteps},
      {.kind = kind, .steps = 10, .levels = LevelSpacing::kKarras, .s_churn = 3}};
  for (const int64_t steps : {10, 12, 13}) {
    all.push_back({.kind = kind,
                   .steps = steps,
                   .levels = LevelSpacing::kTimesteps,
                   .final_sigma = FinalSigma::kSigmaMin});
  }
  return all;
}

const nlohmann::json kOtherValues{{"steps", 9},
                                  {"spacing", "linspace"},
                                  {"drop_last", true},
                                  {"steps_offset", 1},
                                  {"levels", "exponential"},
                                  {"rho", 3.0},
                                  {"sigma_min", 0.1},
                                  {"sigma_max", 20.0},
                                  {"final_sigma", "sigma_min"},
                                  {"eta", 0.5},
                                  {"ancestral_eta", 0.5},
                                  {"order", 1},
                                  {"lower_order_final", false},
                                  {"solver_type", "heun"},
                                  {"unipc", "bh1"},
                                  {"s_churn", 5.0},
                                  {"s_tmin", 10.0},
                                  {"s_tmax", 0.5},
                                  {"s_noise", 1.1},
                                  {"variance", "fixed_large"}};

bool makes_a_difference(SamplerKind kind, const std::string& option) {
  for (const SamplerOptions& context : contexts(kind)) {
    SamplerOptions other = context;
    ConfigTree tree;
    tree.values[option] = kOtherValues.at(option);
    assign_fields(list_fields(other), tree);
    if (plan_text(other) != plan_text(context)) return true;
  }
  return false;
}

TEST(SamplerOptionsTest, ASamplerReadsWhatChangesItsPlanAndNothingElse) {
  for (size_t i = 0; i < EnumNames<SamplerKind>::names.size(); ++i) {
    const auto kind = static_cast<SamplerKind>(i);
    const std::vector<std::string> read = options_read_by(kind);
    for (const auto& [option, value] : kOtherValues.items()) {
      const bool is_read = std::find(read.begin(), read.end(), option) != read.end();
      EXPECT_EQ(is_read, makes_a_difference(kind, option)) << enum_word(kind) << " " << option;
    }
  }
}

// Clipping is no part of a plan: every sampler clips.
TEST(SamplerOptionsTest, EveryOptionIsKnownAndReadBySomeSampler) {
  SamplerOptions options;
  std::vector<std::string> names, read{"kind"};
  for (const Field& field : list_fields(options)) names.push_back(field.key);
  for (size_t i = 0; i < EnumNames<SamplerKind>::names.size(); ++i) {
    for (const std::string& name : options_read_by(static_cast<SamplerKind>(i))) {
      if (std::find(read.begin(), read.end(), name) == read.end()) read.push_back(name);
    }
  }
  EXPECT_THAT(read, ::testing::UnorderedElementsAreArray(names));
}

TEST(SamplerOptionsTest, AnotherSamplerKeepsClippingSpacingAndOffsetAlone) {
  const SamplerOptions of_file{.kind = SamplerKind::kDpmpp2m,
                               .steps = 20,
                               .spacing = TimestepSpacing::kLeading,
                               .steps_offset = 1,
                               .levels = LevelSpacing::kKarras,
                               .clip = X0Clip::kDynamic,
                               .dynamic_max = 3};
  EXPECT_EQ(options_for_sampler(of_file, SamplerKind::kDpmpp2m).levels, LevelSpacing::kKarras);
  const SamplerOptions other = options_for_sampler(of_file, SamplerKind::kUnipc);
  EXPECT_EQ(other.kind, SamplerKind::kUnipc);
  EXPECT_EQ(other.steps, 0);
  EXPECT_EQ(other.levels, LevelSpacing::kAuto);
  EXPECT_EQ(other.spacing, TimestepSpacing::kLeading);
  EXPECT_EQ(other.steps_offset, 1);
  EXPECT_EQ(other.clip, X0Clip::kDynamic);
  EXPECT_EQ(other.dynamic_max, 3);
}

}  // namespace
}  // namespace ddpm
