#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <stdexcept>

#include "checkpoint/safetensors_bytes.h"
#include "ddpm/checkpoint/scheduler_json.h"
#include "ddpm/checkpoint/scheduler_sampler.h"
#include "ddpm/core/file.h"

namespace ddpm {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using Json = nlohmann::json;
using testing::message_of;

SchedulerFile read_solver(const std::string& scheduler, Json values = Json::object()) {
  values["_class_name"] = scheduler;
  return scheduler_from_json(values, "scheduler_config.json");
}

std::string solver_refusal(const std::string& scheduler, const Json& values) {
  return message_of<std::invalid_argument>([&] { read_solver(scheduler, values); });
}

auto names(const char* key, const char* value) {
  return AllOf(HasSubstr("scheduler_config.json"), HasSubstr(key), HasSubstr(value));
}

TEST(SchedulerJsonSolversTest, AbsentKeysHaveTheClasssDefaults) {
  const auto heun = read_solver("HeunDiscreteScheduler");
  EXPECT_DOUBLE_EQ(heun.diffusion.beta_start, 0.00085);
  EXPECT_DOUBLE_EQ(heun.diffusion.beta_end, 0.012);
  EXPECT_FALSE(heun.options.clip_sample);
  EXPECT_EQ(heun.options.timestep_spacing, TimestepSpacing::kLinspace);
  const auto pndm = read_solver("PNDMScheduler");
  EXPECT_EQ(pndm.options.timestep_spacing, TimestepSpacing::kLeading);
  EXPECT_EQ(pndm.options.final_sigma, FinalSigma::kSigmaMin);
  EXPECT_DOUBLE_EQ(pndm.diffusion.beta_start, 1e-4);
  EXPECT_TRUE(read_solver("DDIMScheduler").options.clip_sample);
  EXPECT_EQ(read_solver("DPMSolverMultistepScheduler").options,
            default_scheduler(SchedulerClass::kDpmSolverMultistep));
}

TEST(SchedulerJsonSolversTest, KeysOfOtherSchedulersAreListedAndMeanNothing) {
  const auto file =
      read_solver("EulerDiscreteScheduler", {{"clip_sample", true}, {"skip_prk_steps", true}});
  EXPECT_EQ(file.options, default_scheduler(SchedulerClass::kEuler));
  EXPECT_THAT(file.unused_keys, ElementsAre("clip_sample", "skip_prk_steps"));
  EXPECT_FALSE(scheduler_to_json(file, {}).contains("clip_sample"));
}

TEST(SchedulerJsonSolversTest, MinusInfinityIsReadAndWrittenAsPythonDoes) {
  const std::string path = ::testing::TempDir() + "/ddpm-minus-infinity.json";
  const SchedulerFile file{.diffusion = {},
                           .options = default_scheduler(SchedulerClass::kDpmSolverMultistep)};
  write_scheduler_file(path, file, {});
  EXPECT_THAT(read_text_file(path), HasSubstr("\"lambda_min_clipped\": -Infinity,"));
  EXPECT_EQ(read_scheduler_file(path).options, file.options);
  write_file_atomic(path, std::string_view(R"({"_class_name": "a\"b -Infinity"})"));
  EXPECT_THAT(message_of<std::invalid_argument>([&] { read_scheduler_file(path); }),
              HasSubstr("got 'a\"b -Infinity'"));
}

TEST(SchedulerJsonSolversTest, WhatSamplersLackIsRefusedByName) {
  const std::string multistep = "DPMSolverMultistepScheduler";
  const std::string singlestep = "DPMSolverSinglestepScheduler";
  const std::string unipc = "UniPCMultistepScheduler";
  const std::string euler = "EulerDiscreteScheduler";
  EXPECT_THAT(solver_refusal(multistep, {{"algorithm_type", "dpmsolver"}}),
              names("algorithm_type", "dpmsolver"));
  EXPECT_THAT(solver_refusal(multistep, {{"algorithm_type", "sde-dpmsolver"}}),
              names("algorithm_type", "sde-dpmsolver"));
  EXPECT_THAT(solver_refusal(multistep, {{"solver_order", 4}}), names("solver_order", "4"));
  EXPECT_THAT(solver_refusal(multistep, {{"solver_type", "bh2"}}), names("solver_type", "bh2"));
  EXPECT_THAT(solver_refusal(multistep, {{"lambda_min_clipped", -5.1}}),
              names("lambda_min_clipped", "-5.1"));
  EXPECT_THAT(solver_refusal(multistep, {{"variance_type", "learned"}}),
              names("variance_type", "learned"));
  EXPECT_THAT(solver_refusal(multistep, {{"use_karras_sigmas", true}, {"use_lu_lambdas", true}}),
              names("use_lu_lambdas", "2"));
  EXPECT_THAT(solver_refusal(multistep, {{"euler_at_final", true},
                                         {"final_sigmas_type", "sigma_min"},
                                         {"lower_order_final", false}}),
              names("euler_at_final", "true"));
  EXPECT_THAT(
      solver_refusal(multistep, {{"euler_at_final", true}, {"final_sigmas_type", "sigma_min"}}),
      names("euler_at_final", "true"));
  for (const char* key : {"use_beta_sigmas", "use_flow_sigmas", "use_dynamic_shifting"}) {
    EXPECT_THAT(solver_refusal(multistep, {{key, true}}), names(key, "true"));
  }
  EXPECT_THAT(solver_refusal(multistep, {{"flow_shift", 3.0}}), names("flow_shift", "3"));
  EXPECT_THAT(solver_refusal(singlestep, {{"algorithm_type", "sde-dpmsolver++"}}),
              names("algorithm_type", "sde-dpmsolver++"));
  EXPECT_THAT(solver_refusal(singlestep, {{"algorithm_type", "dpmsolver"}}),
              names("final_sigmas_type", "zero"));
  EXPECT_THAT(solver_refusal(singlestep, {{"solver_order", 3}}), names("solver_type", "midpoint"));
  EXPECT_THAT(solver_refusal(unipc, {{"lower_order_final", false}}),
              names("lower_order_final", "false"));
  for (const char* key : {"use_karras_sigmas", "use_exponential_sigmas"}) {
    EXPECT_THAT(solver_refusal(unipc, {{key, true}, {"final_sigmas_type", "sigma_min"}}),
                names("final_sigmas_type", "sigma_min"));
  }
  EXPECT_THAT(solver_refusal(unipc, {{"predict_x0", false}}), names("predict_x0", "false"));
  EXPECT_THAT(solver_refusal(unipc, {{"disable_corrector", {0}}}),
              names("disable_corrector", "[0]"));
  EXPECT_THAT(solver_refusal(euler, {{"interpolation_type", "log_linear"}}),
              names("interpolation_type", "log_linear"));
  EXPECT_THAT(solver_refusal(euler, {{"timestep_type", "continuous"}}),
              names("timestep_type", "continuous"));
  EXPECT_THAT(solver_refusal(euler, {{"sigma_min", 0}}), names("sigma_min", "0"));
  EXPECT_THAT(solver_refusal("HeunDiscreteScheduler", {{"beta_schedule", "exp"}}),
              names("beta_schedule", "exp"));
  EXPECT_THAT(solver_refusal("PNDMScheduler", {{"beta_schedule", "sigmoid"}}),
              names("beta_schedule", "sigmoid"));
  EXPECT_THAT(solver_refusal("DEISMultistepScheduler", {{"solver_type", "midpoint"}}),
              names("solver_type", "midpoint"));
  EXPECT_THAT(solver_refusal(euler, {{"use_karas_sigmas", true}}),
              names("use_karas_sigmas", "use_karras_sigmas"));
  EXPECT_THAT(solver_refusal("KDPM2DiscreteScheduler", {}),
              names("_class_name", "KDPM2DiscreteScheduler"));
}

TEST(SchedulerJsonSolversTest, EulerAtFinalLowersTheStepToTheImageAlone) {
  const auto read = [](const Json& values) {
    return sampler_of_scheduler(read_solver("DPMSolverMultistepScheduler", values).options);
  };
  const SamplerOptions sampler = read({{"solver_order", 3},
                                       {"euler_at_final", true},
                                       {"lower_order_final", false},
                                       {"final_sigmas_type", "zero"}});
  EXPECT_EQ(sampler.kind, SamplerKind::kDpmpp3m);
  EXPECT_FALSE(sampler.lower_order_final);
  EXPECT_EQ(sampler.final_sigma, FinalSigma::kZero);
  EXPECT_EQ(
      read({{"solver_order", 1}, {"euler_at_final", true}, {"final_sigmas_type", "sigma_min"}})
          .kind,
      SamplerKind::kDdim);
}

TEST(SchedulerJsonSolversTest, WhatAClassHasNoPlaceForIsNotWritten) {
  const auto refuse = [](SchedulerClass scheduler, const DiffusionConfig& diffusion) {
    const SchedulerFile file{.diffusion = diffusion, .options = default_scheduler(scheduler)};
    return message_of<std::invalid_argument>([&] { scheduler_to_json(file, {}); });
  };
  EXPECT_THAT(refuse(SchedulerClass::kPndm, {.betas = {}, .zero_terminal_snr = true}),
              AllOf(HasSubstr("PNDMScheduler"), HasSubstr("zero_terminal_snr")));
  EXPECT_THAT(
      refuse(SchedulerClass::kEuler, {.betas = {}, .variance = VarianceType::kLearnedRange}),
      AllOf(HasSubstr("EulerDiscreteScheduler"), HasSubstr("learned_range")));
  const SchedulerFile file{.diffusion = {.betas = {}, .variance = VarianceType::kLearnedRange},
                           .options = default_scheduler(SchedulerClass::kDpmSolverMultistep)};
  EXPECT_EQ(scheduler_to_json(file, {})["variance_type"], "learned_range");
}

TEST(SchedulerJsonSolversTest, SigmoidBetasAreWrittenOutWhereTheClassLacksThem) {
  const SchedulerFile file{
      .diffusion = {.schedule = ScheduleKind::kSigmoidBeta, .num_timesteps = 2, .betas = {}},
      .options = default_scheduler(SchedulerClass::kUnipc)};
  EXPECT_EQ(scheduler_to_json(file, {0.1, 0.2})["trained_betas"], Json({0.1, 0.2}));
}

}  // namespace
}  // namespace ddpm
