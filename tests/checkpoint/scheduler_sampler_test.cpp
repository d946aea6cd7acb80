#include "ddpm/checkpoint/scheduler_sampler.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <vector>

#include "ddpm/config/json_config.h"

namespace ddpm {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

SchedulerOptions solver_of_order(SchedulerClass scheduler, int64_t order,
                                 SolverAlgorithm algorithm) {
  SchedulerOptions options = default_scheduler(scheduler);
  options.solver_order = order;
  options.algorithm = algorithm;
  return options;
}

TEST(SchedulerSamplerTest, OrderAndAlgorithmNameTheSampler) {
  using enum SolverAlgorithm;
  using enum SamplerKind;
  const auto kind = [](SchedulerClass scheduler, int64_t order, SolverAlgorithm algorithm) {
    return sampler_of_scheduler(solver_of_order(scheduler, order, algorithm)).kind;
  };
  const auto multistep = SchedulerClass::kDpmSolverMultistep;
  EXPECT_EQ(kind(multistep, 1, kDpmSolverPlusPlus), kDdim);
  EXPECT_EQ(kind(multistep, 2, kDpmSolverPlusPlus), kDpmpp2m);
  EXPECT_EQ(kind(multistep, 3, kDpmSolverPlusPlus), kDpmpp3m);
  EXPECT_EQ(kind(multistep, 1, kSdeDpmSolverPlusPlus), kEulerAncestral);
  EXPECT_EQ(kind(multistep, 2, kSdeDpmSolverPlusPlus), kDpmpp2mSde);
  EXPECT_EQ(kind(multistep, 3, kSdeDpmSolverPlusPlus), kDpmpp3mSde);
  const auto singlestep = SchedulerClass::kDpmSolverSinglestep;
  EXPECT_EQ(kind(singlestep, 2, kDpmSolverPlusPlus), kDpmpp2s);
  EXPECT_EQ(kind(singlestep, 3, kDpmSolverPlusPlus), kDpmpp3s);
  EXPECT_EQ(kind(singlestep, 2, kDpmSolver), kDpm2s);
  EXPECT_EQ(kind(singlestep, 3, kDpmSolver), kDpm3s);
}

TEST(SchedulerSamplerTest, EverySamplersSchedulerNamesItAgain) {
  using enum SamplerKind;
  const auto one_of = [](SamplerKind kind, const std::vector<SamplerKind>& kinds) {
    return std::find(kinds.begin(), kinds.end(), kind) != kinds.end();
  };
  const SchedulerOptions trailing{.clip_sample = false,
                                  .timestep_spacing = TimestepSpacing::kTrailing};
  for (size_t i = 0; i < EnumNames<SamplerKind>::names.size(); ++i) {
    const auto kind = static_cast<SamplerKind>(i);
    SCOPED_TRACE(enum_word(kind));
    const auto choice = scheduler_of_sampler(kind, trailing, VarianceType::kFixedSmall);
    const bool singlestep = one_of(kind, {kDpmpp2s, kDpmpp3s, kDpm2s, kDpm3s});
    const bool ends_early = one_of(kind, {kDpm2s, kDpm3s, kDeis});
    const SamplerOptions expected{
        .kind = kind == kDdpm ? kDdim : kind,
        .spacing = singlestep ? TimestepSpacing::kLinspace : TimestepSpacing::kTrailing,
        .drop_last = singlestep ||
                     one_of(kind, {kDpmpp2m, kDpmpp3m, kDpmpp2mSde, kDpmpp3mSde, kUnipc, kDeis}),
        .levels = one_of(kind, {kDdpm, kDdim}) ? LevelSpacing::kAuto : LevelSpacing::kTimesteps,
        .final_sigma = ends_early ? FinalSigma::kSigmaMin : FinalSigma::kZero,
        .order = one_of(kind, {kUnipc, kDeis}) ? 3 : 0,
        .solver_type = one_of(kind, {kDpmpp3s, kDpm3s}) ? SolverType::kHeun : SolverType::kMidpoint,
        .clip = X0Clip::kNone,
        .dynamic_max = 1};
    EXPECT_EQ(config_to_json(sampler_of_scheduler(choice.options)), config_to_json(expected));
  }
}

TEST(SchedulerSamplerTest, WhatDrawsOtherImagesThanTheSamplerIsNamed) {
  using enum SamplerKind;
  const auto notes = [](SamplerKind kind, TimestepSpacing spacing) {
    const SchedulerOptions from{.clip_sample = false, .timestep_spacing = spacing};
    return scheduler_of_sampler(kind, from, VarianceType::kFixedSmall).notes;
  };
  const auto trailing = TimestepSpacing::kTrailing;
  EXPECT_THAT(notes(kDeis, trailing), ElementsAre(HasSubstr("a last step to the image")));
  for (const auto kind : {kDpmpp3m, kDpmpp3mSde}) {
    EXPECT_THAT(notes(kind, trailing), ElementsAre(HasSubstr("another step of order 3")));
  }
  for (const auto kind : {kDpm2s, kDpm3s}) {
    EXPECT_THAT(notes(kind, TimestepSpacing::kLinspace),
                ElementsAre(HasSubstr("a last step to the image"),
                            HasSubstr("lists of n timesteps with linspace spacing")));
  }
  for (const auto kind : {kDpmpp2m, kUnipc}) {
    EXPECT_THAT(notes(kind, trailing), IsEmpty());
    EXPECT_THAT(notes(kind, TimestepSpacing::kLeading),
                ElementsAre(HasSubstr("lists of n timesteps with leading spacing")));
  }
  for (const auto kind : {kDdim, kEuler, kHeun, kLms, kPndm}) {
    EXPECT_THAT(notes(kind, TimestepSpacing::kLeading), IsEmpty()) << enum_word(kind);
  }
}

TEST(SchedulerSamplerTest, SigmaListsThatDiffusersMakesOtherwiseAreNamed) {
  const auto differences = [](SchedulerClass scheduler, TimestepSpacing spacing) {
    SchedulerOptions options = default_scheduler(scheduler);
    options.timestep_spacing = spacing;
    options.sigmas = LevelSpacing::kKarras;
    return scheduler_differences(options);
  };
  using enum SchedulerClass;
  for (const auto scheduler : {kEuler, kHeun, kLms}) {
    EXPECT_THAT(differences(scheduler, TimestepSpacing::kTrailing),
                ElementsAre(HasSubstr("the ends of its karras sigmas from the trailing list")));
    EXPECT_THAT(differences(scheduler, TimestepSpacing::kLinspace), IsEmpty());
  }
  EXPECT_THAT(differences(kDeis, TimestepSpacing::kLinspace),
              ElementsAre(HasSubstr("a step that stays where it is")));
  EXPECT_THAT(differences(kDpmSolverMultistep, TimestepSpacing::kTrailing), IsEmpty());
  SchedulerOptions euler = default_scheduler(kEuler);
  euler.timestep_spacing = TimestepSpacing::kLeading;
  EXPECT_THAT(scheduler_differences(euler), IsEmpty());
  euler.sigmas = LevelSpacing::kExponential;
  euler.sigma_min = 0.1;
  EXPECT_THAT(scheduler_differences(euler), ElementsAre(HasSubstr("exponential sigmas")));
  euler.sigma_max = 10;
  EXPECT_THAT(scheduler_differences(euler), IsEmpty());
}

TEST(SchedulerSamplerTest, ListsOfDpmSolverUnipcAndDeisDropTheirLast) {
  using enum SchedulerClass;
  for (const auto scheduler : {kDpmSolverMultistep, kDpmSolverSinglestep, kUnipc, kDeis}) {
    EXPECT_TRUE(sampler_of_scheduler(default_scheduler(scheduler)).drop_last);
  }
  for (const auto scheduler : {kDdpm, kDdim, kEuler, kEulerAncestral, kHeun, kLms, kPndm}) {
    EXPECT_FALSE(sampler_of_scheduler(default_scheduler(scheduler)).drop_last);
  }
}

TEST(SchedulerSamplerTest, ClippingGoesWhereAClassHasPlaceForIt) {
  const auto trailing = TimestepSpacing::kTrailing;
  const SchedulerOptions clips{.timestep_spacing = trailing};
  const auto to = [&](SamplerKind kind, const SchedulerOptions& from) {
    return scheduler_of_sampler(kind, from, VarianceType::kFixedSmall);
  };
  const auto dpmpp = to(SamplerKind::kDpmpp2m, clips);
  EXPECT_TRUE(dpmpp.options.thresholding);  // up to 1: plain clipping
  EXPECT_EQ(dpmpp.options.sample_max_value, 1);
  EXPECT_THAT(dpmpp.notes, IsEmpty());
  EXPECT_TRUE(to(SamplerKind::kHeun, clips).options.clip_sample);
  EXPECT_THAT(to(SamplerKind::kEuler, clips).notes,
              ElementsAre(HasSubstr("EulerDiscreteScheduler has no place for the clipping")));
  EXPECT_FALSE(to(SamplerKind::kDpm2s, clips).options.thresholding);
  EXPECT_THAT(to(SamplerKind::kUnipc, {.clip_sample_range = 2, .timestep_spacing = trailing}).notes,
              ElementsAre(HasSubstr("clipping")));
  const SchedulerOptions dynamic{.thresholding = true, .sample_max_value = 3};
  EXPECT_EQ(to(SamplerKind::kDdim, dynamic).options.sample_max_value, 3);
  EXPECT_FALSE(to(SamplerKind::kHeun, dynamic).options.clip_sample);
  EXPECT_THAT(to(SamplerKind::kHeun, dynamic).notes, ElementsAre(HasSubstr("clipping")));
  EXPECT_THAT(to(SamplerKind::kEuler, {.clip_sample = false}).notes, IsEmpty());
}

TEST(SchedulerSamplerTest, WhatTheFileSaysIsWhereSamplingStarts) {
  const SamplerOptions sampler =
      sampler_of_scheduler({.scheduler = SchedulerClass::kUnipc,
                            .clip_sample = false,
                            .thresholding = true,
                            .dynamic_thresholding_ratio = 0.9,
                            .sample_max_value = 2,
                            .timestep_spacing = TimestepSpacing::kLinspace,
                            .steps_offset = 2,
                            .sigmas = LevelSpacing::kKarras,
                            .sigma_min = 0.1,
                            .sigma_max = 10,
                            .final_sigma = FinalSigma::kSigmaMin,
                            .solver_order = 2,
                            .unipc = UnipcVariant::kBh1,
                            .lower_order_final = false});
  EXPECT_EQ(sampler.kind, SamplerKind::kUnipc);
  EXPECT_EQ(sampler.clip, X0Clip::kDynamic);
  EXPECT_EQ(sampler.dynamic_ratio, 0.9);
  EXPECT_EQ(sampler.dynamic_max, 2);
  EXPECT_EQ(sampler.spacing, TimestepSpacing::kLinspace);
  EXPECT_EQ(sampler.steps_offset, 2);
  EXPECT_EQ(sampler.levels, LevelSpacing::kKarras);
  EXPECT_EQ(sampler.sigma_min, 0.1);
  EXPECT_EQ(sampler.sigma_max, 10);
  EXPECT_EQ(sampler.final_sigma, FinalSigma::kSigmaMin);
  EXPECT_EQ(sampler.order, 2);
  EXPECT_EQ(sampler.unipc, UnipcVariant::kBh1);
  EXPECT_FALSE(sampler.lower_order_final);
}

TEST(SchedulerSamplerTest, OptionsThatAClassLacksAreNamed) {
  const SchedulerOptions from{
      .clip_sample = false, .timestep_spacing = TimestepSpacing::kTrailing, .steps_offset = 3};
  const auto euler = scheduler_of_sampler(SamplerKind::kEuler, from, VarianceType::kFixedLarge);
  EXPECT_EQ(euler.options.timestep_spacing, TimestepSpacing::kTrailing);
  EXPECT_EQ(euler.options.steps_offset, 3);
  EXPECT_THAT(euler.notes, ElementsAre(HasSubstr("variance fixed_large")));
  const auto dpmpp = scheduler_of_sampler(SamplerKind::kDpmpp2s, from, VarianceType::kFixedLarge);
  EXPECT_THAT(dpmpp.notes, ElementsAre(HasSubstr("timestep_spacing trailing"),
                                       HasSubstr("lists of n timesteps with linspace spacing")));
}

}  // namespace
}  // namespace ddpm
