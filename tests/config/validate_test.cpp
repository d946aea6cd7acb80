#include "ddpm/config/validate.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>

#include "config/config_error.h"

namespace ddpm {
namespace {

using ::testing::HasSubstr;

std::string error_after(const std::function<void(RunConfig&)>& change) {
  RunConfig config;
  change(config);
  return testing::config_error([&] { validate(config, "x.toml"); });
}

TEST(ValidateTest, TheDefaultsPass) {
  EXPECT_EQ(error_after([](RunConfig&) {}), "no error");
}

TEST(ValidateTest, AccumulationDividesTheBatch) {
  EXPECT_EQ(error_after([](RunConfig& c) { c.train.accumulation = 3; }),
            "[x.toml] train.accumulation divides the batch: expected a divisor of train.batch_size "
            "128, got 3");
  EXPECT_EQ(error_after([](RunConfig& c) { c.train.accumulation = 4; }), "no error");
}

TEST(ValidateTest, ZeroTerminalSnrNeedsAnotherTargetThanNoise) {
  EXPECT_THAT(error_after([](RunConfig& c) { c.diffusion.zero_terminal_snr = true; }),
              HasSubstr("expected diffusion.prediction sample or v_prediction, got epsilon"));
  EXPECT_THAT(error_after([](RunConfig& c) {
                c.diffusion.zero_terminal_snr = true;
                c.diffusion.prediction = PredictionType::kEdm;
              }),
              HasSubstr("got edm"));
  EXPECT_EQ(error_after([](RunConfig& c) {
              c.diffusion.zero_terminal_snr = true;
              c.diffusion.prediction = PredictionType::kVelocity;
            }),
            "no error");
}

TEST(ValidateTest, ACustomScheduleHasOneBetaATimestep) {
  const auto with_betas = [](std::vector<double> betas) {
    return error_after([&](RunConfig& c) {
      c.diffusion.schedule = ScheduleKind::kCustom;
      c.diffusion.num_timesteps = 2;
      c.diffusion.betas = std::move(betas);
      c.train.preview_steps = 2;
    });
  };
  EXPECT_EQ(with_betas({0.1, 0.2}), "no error");
  EXPECT_THAT(with_betas({0.1}), HasSubstr("expected diffusion.betas of length 2, got 1"));
  EXPECT_THAT(with_betas({}), HasSubstr("of length 2, got 0"));
  EXPECT_THAT(with_betas({0.1, 1.5}), HasSubstr("expected each from 0 to 1, got 1.5"));
  EXPECT_THAT(error_after([](RunConfig& c) { c.diffusion.betas = {0.1}; }),
              HasSubstr("diffusion.betas is for schedule = custom alone"));
}

TEST(ValidateTest, ALearnedVarianceAndItsLossesGoTogether) {
  const auto with = [](VarianceType variance, LossKind kind) {
    return error_after([&](RunConfig& c) {
      c.diffusion.variance = variance;
      c.loss.kind = kind;
    });
  };
  for (const LossKind kind : {LossKind::kHybrid, LossKind::kVlb, LossKind::kRescaledKl}) {
    EXPECT_EQ(with(VarianceType::kLearnedRange, kind), "no error");
  }
  EXPECT_EQ(with(VarianceType::kFixedLarge, LossKind::kVlb), "no error");
  EXPECT_THAT(with(VarianceType::kLearnedRange, LossKind::kL2),
              HasSubstr("expected loss.kind hybrid, vlb or rescaled_kl, got l2"));
  EXPECT_THAT(with(VarianceType::kFixedSmall, LossKind::kHybrid),
              HasSubstr("expected diffusion.variance learned_range, got fixed_small"));
  EXPECT_THAT(error_after([](RunConfig& c) {
                c.loss.kind = LossKind::kVlb;
                c.loss.weighting = LossWeighting::kP2;
              }),
              HasSubstr("expected loss.weighting none, got p2"));
  EXPECT_THAT(error_after([](RunConfig& c) {
                c.loss.kind = LossKind::kVlb;
                c.diffusion.num_timesteps = 1;
                c.train.preview_steps = 1;
              }),
              HasSubstr("expected diffusion.num_timesteps of at least 2, got 1"));
}

TEST(ValidateTest, LabelsAreDroppedFromATableOfClasses) {
  EXPECT_THAT(error_after([](RunConfig& c) { c.train.class_dropout = 0.1; }),
              HasSubstr("got class_conditional = false"));
  EXPECT_THAT(error_after([](RunConfig& c) {
                c.train.class_conditional = true;
                c.train.class_dropout = 0.1;
                c.model.unet2d.class_embed_type = ClassEmbedType::kTimestep;
              }),
              HasSubstr("class_embed_type timestep"));
}

TEST(ValidateTest, SelfConditioningTakesHalfOfUNet2DsImages) {
  const auto with = [](int64_t accumulation, ModelKind kind) {
    return error_after([&](RunConfig& c) {
      c.train.self_conditioning = true;
      c.train.accumulation = accumulation;
      c.model.kind = kind;
    });
  };
  EXPECT_EQ(with(64, ModelKind::kUNet2D), "no error");
  EXPECT_THAT(with(128, ModelKind::kUNet2D), HasSubstr("even, got 1"));
  EXPECT_THAT(with(1, ModelKind::kSimpleUnet), HasSubstr("expected model.kind unet2d"));
}

TEST(ValidateTest, SuperResolutionNeedsUNet2DAndAFactorOfTwoOrMore) {
  const auto with = [](int64_t factor, ModelKind kind) {
    return error_after([&](RunConfig& c) {
      c.train.super_resolution = factor;
      c.model.kind = kind;
    });
  };
  EXPECT_EQ(with(2, ModelKind::kUNet2D), "no error");
  EXPECT_THAT(with(1, ModelKind::kUNet2D), HasSubstr("expected 0, or 2 and more, got 1"));
  EXPECT_THAT(with(2, ModelKind::kSimpleUnet), HasSubstr("expected model.kind unet2d"));
}

TEST(ValidateTest, AugmentationNeedsANetworkThatIsToldAndOneKindOfFlips) {
  const auto with = [](auto change) {
    return error_after([&](RunConfig& c) {
      c.augment.enabled = true;
      change(c);
    });
  };
  EXPECT_EQ(with([](RunConfig&) {}), "no error");
  EXPECT_THAT(with([](RunConfig& c) { c.model.kind = ModelKind::kSimpleUnet; }),
              HasSubstr("expected model.kind unet2d, got simple_unet"));
  EXPECT_THAT(with([](RunConfig& c) { c.data.horizontal_flip = true; }),
              HasSubstr("expected data.horizontal_flip = false"));
  EXPECT_EQ(with([](RunConfig& c) {
              c.data.horizontal_flip = true;
              c.augment.x_flip = false;
            }),
            "no error");
  EXPECT_THAT(with([](RunConfig& c) {
                c.augment = {.enabled = true,
                             .x_flip = false,
                             .y_flip = false,
                             .scaling = false,
                             .rotation = false,
                             .anisotropy = false,
                             .translation = false};
              }),
              HasSubstr("at least one kind"));
}

TEST(ValidateTest, PowerAveragesAreDifferentAndInRange) {
  const auto with = [](std::vector<double> stds) {
    return error_after([&](RunConfig& c) { c.ema.power_stds = std::move(stds); });
  };
  EXPECT_EQ(with({0.05, 0.1}), "no error");
  EXPECT_THAT(with({0.3}),
              HasSubstr("ema.power_stds: expected each from 0.0001 to 0.2886, got 0.3"));
  EXPECT_THAT(with({0.1, 0.1}), HasSubstr("got 0.1 again"));
}

TEST(ValidateTest, BlockListsHaveOneEntryALevel) {
  EXPECT_THAT(error_after([](RunConfig& c) { c.model.unet2d.up_block_types.pop_back(); }),
              HasSubstr("expected 4 blocks each, one a level of block_out_channels, got 4 and 3"));
  EXPECT_THAT(error_after([](RunConfig& c) { c.model.unet2d.down_block_types.clear(); }),
              HasSubstr("got 0 and 4"));
  EXPECT_THAT(error_after([](RunConfig& c) { c.model.unet2d.block_out_channels.clear(); }),
              HasSubstr("at least one level"));
  EXPECT_THAT(error_after([](RunConfig& c) { c.model.unet2d.block_out_channels[1] = 0; }),
              HasSubstr("expected each at least 1, got 0"));
  EXPECT_EQ(error_after([](RunConfig& c) {
              c.model.kind = ModelKind::kSimpleUnet;
              c.model.unet2d.block_out_channels.clear();
            }),
            "no error");
}

TEST(ValidateTest, PreviewsTakeNoMoreStepsThanThereAre) {
  EXPECT_THAT(error_after([](RunConfig& c) { c.diffusion.num_timesteps = 20; }),
              HasSubstr("expected at most diffusion.num_timesteps 20, got 50"));
  EXPECT_EQ(error_after([](RunConfig& c) {
              c.diffusion.num_timesteps = 20;
              c.train.preview_every = 0;
            }),
            "no error");
}

TEST(ValidateTest, AClassifierAndCrossEntropyGoTogether) {
  const auto with = [](ModelKind kind, LossKind loss, const auto& change) {
    return error_after([&](RunConfig& c) {
      c.model.kind = kind;
      c.loss.kind = loss;
      change(c);
    });
  };
  const auto nothing = [](RunConfig&) {};
  EXPECT_EQ(with(ModelKind::kClassifier, LossKind::kCrossEntropy, nothing), "no error");
  EXPECT_THAT(with(ModelKind::kClassifier, LossKind::kL2, nothing),
              HasSubstr("expected loss.kind cross_entropy, got l2"));
  EXPECT_THAT(with(ModelKind::kUNet2D, LossKind::kCrossEntropy, nothing),
              HasSubstr("expected model.kind classifier, got unet2d"));
  const auto classifier = [&](const auto& change) {
    return with(ModelKind::kClassifier, LossKind::kCrossEntropy, change);
  };
  EXPECT_THAT(classifier([](RunConfig& c) { c.loss.weighting = LossWeighting::kP2; }),
              HasSubstr("expected none for a classifier, got p2"));
  EXPECT_THAT(classifier([](RunConfig& c) { c.diffusion.variance = VarianceType::kLearnedRange; }),
              HasSubstr("diffusion.variance: expected a fixed one for a classifier"));
  EXPECT_THAT(classifier([](RunConfig& c) { c.train.class_conditional = true; }),
              HasSubstr("expected model.kind unet2d, got classifier"));
  EXPECT_THAT(classifier([](RunConfig& c) { c.model.classifier.block_out_channels.clear(); }),
              HasSubstr("model.classifier.block_out_channels"));
  // The forward process is its denoiser's, whose section it may share, a learned variance apart.
  EXPECT_EQ(classifier([](RunConfig& c) {
              c.diffusion.prediction = PredictionType::kEdm;
              c.diffusion.num_timesteps = 20;
            }),
            "no error");
}

TEST(ValidateTest, LabelsNeedANetworkThatTakesThem) {
  EXPECT_THAT(error_after([](RunConfig& c) {
                c.train.class_conditional = true;
                c.model.kind = ModelKind::kSimpleUnet;
              }),
              HasSubstr("expected model.kind unet2d, got simple_unet"));
}

}  // namespace
}  // namespace ddpm
