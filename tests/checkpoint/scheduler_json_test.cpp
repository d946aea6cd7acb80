#include "ddpm/checkpoint/scheduler_json.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <stdexcept>

#include "checkpoint/safetensors_bytes.h"
#include "ddpm/config/json_config.h"

namespace ddpm {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using Json = nlohmann::json;
using testing::message_of;

SchedulerFile read_scheduler(const Json& json) {
  return scheduler_from_json(json, "scheduler_config.json");
}

std::string scheduler_refusal(const Json& json) {
  return message_of<std::invalid_argument>([&] { read_scheduler(json); });
}

TEST(SchedulerJsonTest, Cifar10SchedulerIsRead) {
  const auto file = read_scheduler(Json::parse(R"({
    "_class_name": "DDPMScheduler", "_diffusers_version": "0.1.1", "beta_end": 0.02,
    "beta_schedule": "linear", "beta_start": 0.0001, "clip_sample": true,
    "num_train_timesteps": 1000, "trained_betas": null, "variance_type": "fixed_large"})"));
  EXPECT_EQ(file.diffusion.schedule, ScheduleKind::kLinear);
  EXPECT_EQ(file.diffusion.num_timesteps, 1000);
  EXPECT_EQ(file.diffusion.variance, VarianceType::kFixedLarge);
  EXPECT_EQ(file.diffusion.prediction, PredictionType::kEpsilon);
  EXPECT_TRUE(file.options.clip_sample);
  EXPECT_EQ(file.options.timestep_spacing, TimestepSpacing::kLeading);
}

TEST(SchedulerJsonTest, SchedulesThatBothHaveKeepTheirNames) {
  const std::vector<std::pair<ScheduleKind, std::string>> pairs{
      {ScheduleKind::kLinear, "linear"},
      {ScheduleKind::kQuad, "scaled_linear"},
      {ScheduleKind::kCosine, "squaredcos_cap_v2"},
      {ScheduleKind::kSigmoidBeta, "sigmoid"}};
  for (const auto& [kind, name] : pairs) {
    SchedulerFile file;
    file.diffusion.schedule = kind;
    file.diffusion.num_timesteps = 300;
    file.diffusion.beta_end = 0.03;
    file.diffusion.prediction = PredictionType::kVelocity;
    file.diffusion.zero_terminal_snr = true;
    file.options = {.clip_sample = false,
                    .thresholding = true,
                    .dynamic_thresholding_ratio = 0.9,
                    .sample_max_value = 2.0,
                    .timestep_spacing = TimestepSpacing::kTrailing};
    const Json json = scheduler_to_json(file, {});
    EXPECT_EQ(json["beta_schedule"], name);
    EXPECT_TRUE(json["trained_betas"].is_null());
    const auto back = read_scheduler(json);
    EXPECT_EQ(config_to_json(back.diffusion), config_to_json(file.diffusion));
    EXPECT_EQ(scheduler_to_json(back, {}), json);
  }
}

TEST(SchedulerJsonTest, ScaledLinearIsLinearWithScaledEnds) {
  SchedulerFile file;
  file.diffusion.schedule = ScheduleKind::kLinearScaled;
  file.diffusion.num_timesteps = 250;
  const Json json = scheduler_to_json(file, {});
  EXPECT_EQ(json["beta_schedule"], "linear");
  EXPECT_DOUBLE_EQ(json["beta_start"], 4e-4);
  EXPECT_DOUBLE_EQ(json["beta_end"], 0.08);
}

TEST(SchedulerJsonTest, SchedulesThatDiffusersLacksAreWrittenAsBetas) {
  const std::vector<double> betas{0.1 + 0.2, 0.5, 1.0};
  for (const auto kind :
       {ScheduleKind::kSigmoidAlphaBar, ScheduleKind::kConst, ScheduleKind::kJsd}) {
    SchedulerFile file;
    file.diffusion.schedule = kind;
    file.diffusion.num_timesteps = 3;
    const auto back = read_scheduler(scheduler_to_json(file, betas));
    EXPECT_EQ(back.diffusion.schedule, ScheduleKind::kCustom);
    EXPECT_EQ(back.diffusion.betas, betas);
    EXPECT_THAT(message_of<std::invalid_argument>([&] { scheduler_to_json(file, {0.1}); }),
                HasSubstr("expected 3, got 1"));
  }
  SchedulerFile custom;
  custom.diffusion.schedule = ScheduleKind::kCustom;
  custom.diffusion.num_timesteps = 3;
  custom.diffusion.betas = betas;
  EXPECT_EQ(config_to_json(read_scheduler(scheduler_to_json(custom, {})).diffusion),
            config_to_json(custom.diffusion));
}

TEST(SchedulerJsonTest, DdimAndOlderKeysAreUnderstood) {
  const auto file = read_scheduler({{"_class_name", "DDIMScheduler"},
                                    {"set_alpha_to_one", false},
                                    {"clip_sample_range", 2.5},
                                    {"steps_offset", 1},
                                    {"tensor_format", "pt"},
                                    {"timestep_values", nullptr},
                                    {"predict_epsilon", false}});
  EXPECT_EQ(file.diffusion.prediction, PredictionType::kSample);
  EXPECT_EQ(file.options.final_sigma, FinalSigma::kSigmaMin);
  EXPECT_EQ(file.options.clip_sample_range, 2.5);
  EXPECT_EQ(file.options.steps_offset, 1);
  EXPECT_EQ(read_scheduler({{"predict_epsilon", true}}).diffusion.prediction,
            PredictionType::kEpsilon);
}

TEST(SchedulerJsonTest, LearnedRangeIsReadAndWritten) {
  const auto file = read_scheduler({{"variance_type", "learned_range"}});
  EXPECT_EQ(file.diffusion.variance, VarianceType::kLearnedRange);
  EXPECT_EQ(scheduler_to_json(file, {})["variance_type"], "learned_range");
}

TEST(SchedulerJsonTest, WhatIsNotSupportedIsNamedNeverIgnored) {
  const auto says = [](const char* key, const char* value) {
    return AllOf(HasSubstr("scheduler_config.json"), HasSubstr(key), HasSubstr(value));
  };
  EXPECT_THAT(scheduler_refusal({{"_class_name", "DDPMParallelScheduler"}}),
              says("_class_name", "DDPMParallelScheduler"));
  EXPECT_THAT(scheduler_refusal({{"beta_schedule", "laplace"}}), says("beta_schedule", "laplace"));
  EXPECT_THAT(scheduler_refusal({{"variance_type", "learned"}}), says("variance_type", "learned"));
  EXPECT_THAT(scheduler_refusal({{"variance_type", "fixed_large_log"}}),
              says("variance_type", "fixed_large_log"));
  EXPECT_THAT(scheduler_refusal({{"prediction_type", "flow"}}), says("prediction_type", "flow"));
  EXPECT_THAT(scheduler_refusal({{"timestep_spacing", "log"}}), says("timestep_spacing", "log"));
  EXPECT_THAT(scheduler_refusal({{"steps_offset", -1}}), says("steps_offset", "-1"));
  EXPECT_THAT(scheduler_refusal({{"clip_sample_range", -1}}), says("clip_sample_range", "-1"));
  EXPECT_THAT(scheduler_refusal({{"use_edm_sigmas", true}}), says("use_edm_sigmas", ""));
  EXPECT_THAT(scheduler_refusal({{"timestep_values", {1, 2}}}), says("timestep_values", "[1,2]"));
  EXPECT_THAT(scheduler_refusal({{"predict_epsilon", 1}}), says("predict_epsilon", "1"));
  EXPECT_THAT(scheduler_refusal({{"num_train_timesteps", 0}}), says("num_train_timesteps", "0"));
  EXPECT_THAT(scheduler_refusal({{"num_train_timesteps", 3}, {"trained_betas", {0.1, 0.2}}}),
              says("trained_betas", "2"));
}

}  // namespace
}  // namespace ddpm
