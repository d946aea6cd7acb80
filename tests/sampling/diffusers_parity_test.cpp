#include <ATen/ATen.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <fstream>
#include <map>
#include <stdexcept>
#include <string>

#include "ddpm/config/diffusion_config.h"
#include "ddpm/config/sample_config.h"
#include "ddpm/diffusion/noise_schedule.h"
#include "ddpm/sampling/sampler_state.h"
#include "ddpm/sampling/timesteps.h"
#include "support/tensor_matchers.h"

// Numbers that diffusers 0.42.1 gave; tests/parity/diffusers_schedulers.py writes them and says
// which cases it leaves out, and why.
namespace ddpm {
namespace {

using nlohmann::json;
using testing::tensors_near;

const json& fixture() {
  static const json loaded = [] {
    std::ifstream file(DDPM_SOURCE_DIR "/tests/parity/diffusers_schedulers.json");
    return json::parse(file);
  }();
  return loaded;
}

template <typename Enum>
Enum enum_of(const std::string& word) {
  const auto& names = EnumNames<Enum>::names;
  const auto found = std::find(names.begin(), names.end(), word);
  if (found == names.end()) throw std::invalid_argument(word);
  return static_cast<Enum>(found - names.begin());
}

ScheduleKind schedule_of(const std::string& diffusers_name) {
  const std::map<std::string, ScheduleKind> kinds{{"linear", ScheduleKind::kLinear},
                                                  {"scaled_linear", ScheduleKind::kQuad},
                                                  {"squaredcos_cap_v2", ScheduleKind::kCosine},
                                                  {"sigmoid", ScheduleKind::kSigmoidBeta}};
  return kinds.at(diffusers_name);
}

Tensor images_of(const json& values) {
  return at::tensor(values.get<std::vector<float>>(), at::kFloat)
      .view(fixture().at("shape").get<std::vector<int64_t>>());
}

DiffusionConfig diffusion_of(const json& c) {
  DiffusionConfig config;
  config.schedule = schedule_of(c.at("schedule"));
  config.num_timesteps = c.at("num_timesteps");
  config.prediction = enum_of<PredictionType>(c.at("prediction"));
  config.variance = enum_of<VarianceType>(c.at("variance"));
  config.zero_terminal_snr = c.at("zero_terminal_snr");
  return config;
}

SamplerOptions options_of(const json& c) {
  return {.kind = enum_of<SamplerKind>(c.at("kind")),
          .steps = c.at("steps"),
          .spacing = enum_of<TimestepSpacing>(c.at("spacing")),
          .eta = c.at("eta"),
          .clip = enum_of<X0Clip>(c.at("clip")),
          .dynamic_ratio = 0.9,
          .dynamic_max = 3.0};
}

/// The network of the fixture's script.
Tensor denoise(const Tensor& x_t, double t, int64_t num_timesteps) {
  return x_t * (0.6 + 0.3 * t / static_cast<double>(num_timesteps)) - 0.1;
}

std::string describe(json c) {
  for (const char* numbers : {"x_prev", "pred_x_start", "timesteps"}) c.erase(numbers);
  return c.dump();
}

TEST(DiffusersParityTest, EveryStepOfEveryCase) {
  const json& f = fixture();
  ASSERT_GT(f.at("cases").size(), 30U);
  for (const json& c : f.at("cases")) {
    SCOPED_TRACE(describe(c));
    const DiffusionConfig config = diffusion_of(c);
    const SamplerOptions options = options_of(c);
    const auto plan = make_sampler_plan(make_noise_schedule(config), config.prediction, options);
    ASSERT_EQ(plan.calls.size(), c.at("timesteps").size());
    SamplerState state{.x = images_of(f.at("x_T"))};
    for (size_t i = 0; i < plan.calls.size(); ++i) {
      const double t = plan.calls[i].level.t;
      ASSERT_EQ(t, c.at("timesteps")[i].get<double>());
      const auto result = advance(plan, options, state, denoise(state.x, t, config.num_timesteps),
                                  images_of(f.at("noise")[i]));
      // diffusers' tables are float32: relative error 1e-5 where alpha_bar is small.
      const Tensor x_start = images_of(c.at("pred_x_start")[i]);
      const Tensor x_prev = images_of(c.at("x_prev")[i]);
      const double size = std::max(1.0, x_start.abs().max().item<double>());
      EXPECT_TRUE(tensors_near(result.pred_x_start, x_start, 2e-5 * size)) << "step " << i;
      EXPECT_TRUE(tensors_near(result.state.x, x_prev, 2e-5)) << "step " << i;
      state = result.state;
      state.x = x_prev;  // so that each step is compared alone
    }
  }
}

TEST(DiffusersParityTest, TimestepListsOfEveryLength) {
  int64_t compared = 0;
  for (const auto& [num_timesteps, spacings] : fixture().at("timestep_checksums").items()) {
    for (const auto& [spacing, checksums] : spacings.items()) {
      for (size_t n = 1; n <= checksums.size(); ++n) {
        if (checksums[n - 1].is_null()) continue;  // diffusers' list is wrong there
        const auto list = make_timesteps(enum_of<TimestepSpacing>(spacing),
                                         std::stoll(num_timesteps), static_cast<int64_t>(n));
        int64_t checksum = 0;
        for (size_t i = 0; i < list.size(); ++i) checksum += static_cast<int64_t>(i + 1) * list[i];
        EXPECT_EQ(checksum, checksums[n - 1].get<int64_t>())
            << spacing << ", T = " << num_timesteps << ", n = " << n;
        ++compared;
      }
    }
  }
  EXPECT_GT(compared, 3800);
}

}  // namespace
}  // namespace ddpm
