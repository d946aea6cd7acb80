#include "ddpm/config/validate.h"

#include <algorithm>

#include "ddpm/core/check.h"

namespace ddpm {
namespace {

void validate_diffusion(const DiffusionConfig& diffusion, const std::string& where) {
  check_arg(!diffusion.zero_terminal_snr || !needs_signal(diffusion.prediction), "[", where,
            "] zero_terminal_snr leaves no signal in x_T to predict noise against: expected ",
            "diffusion.prediction sample or v_prediction, got ", enum_word(diffusion.prediction));
  const auto count = static_cast<int64_t>(diffusion.betas.size());
  if (diffusion.schedule != ScheduleKind::kCustom) {
    check_arg(count == 0, "[", where, "] diffusion.betas is for schedule = custom alone: expected ",
              "no betas, got ", count);
    return;
  }
  check_arg(count == diffusion.num_timesteps, "[", where,
            "] a custom schedule takes one beta a timestep: expected diffusion.betas of length ",
            diffusion.num_timesteps, ", got ", count);
  for (const double beta : diffusion.betas) {
    check_arg(beta >= 0 && beta <= 1, "[", where, "] diffusion.betas: expected each from 0 to 1, ",
              "got ", beta);
  }
}

void validate_unet2d(const UNet2DConfig& unet, const std::string& where) {
  const size_t levels = unet.block_out_channels.size();
  check_arg(levels > 0, "[", where, "] model.unet2d.block_out_channels: expected at least one ",
            "level, got none");
  check_arg(unet.down_block_types.size() == levels && unet.up_block_types.size() == levels, "[",
            where, "] model.unet2d.down_block_types and up_block_types: expected ", levels,
            " blocks each, one a level of block_out_channels, got ", unet.down_block_types.size(),
            " and ", unet.up_block_types.size());
  for (const int64_t channels : unet.block_out_channels) {
    check_arg(channels >= 1, "[", where, "] model.unet2d.block_out_channels: expected each at ",
              "least 1, got ", channels);
  }
}

void validate_classifier(const RunConfig& config, const std::string& where) {
  const std::vector<int64_t>& levels = config.model.classifier.block_out_channels;
  check_arg(!levels.empty(), "[", where, "] model.classifier.block_out_channels: expected at ",
            "least one level, got none");
  check_arg(config.loss.kind == LossKind::kCrossEntropy, "[", where,
            "] a classifier learns from labels: expected loss.kind cross_entropy, got ",
            enum_word(config.loss.kind));
  check_arg(config.loss.weighting == LossWeighting::kNone, "[", where,
            "] loss.weighting weighs errors of x_0: expected none for a classifier, got ",
            enum_word(config.loss.weighting));
  check_arg(
      config.diffusion.variance != VarianceType::kLearnedRange, "[", where,
      "] diffusion.variance: expected a fixed one for a classifier, which predicts none, got ",
      enum_word(config.diffusion.variance));
}

/// Of a network that denoises.
void validate_loss(const RunConfig& config, const std::string& where) {
  const LossConfig& loss = config.loss;
  check_arg(loss.kind != LossKind::kCrossEntropy, "[", where, "] loss.kind cross_entropy trains a ",
            "classifier: expected model.kind classifier, got ", enum_word(config.model.kind));
  const bool learned = config.diffusion.variance == VarianceType::kLearnedRange;
  const bool with_bound = has_variational_bound(loss.kind);
  check_arg(!learned || with_bound, "[", where,
            "] diffusion.variance learned_range needs a loss that trains it: expected loss.kind ",
            "hybrid, vlb or rescaled_kl, got ", enum_word(loss.kind));
  check_arg(learned || loss.kind != LossKind::kHybrid, "[", where,
            "] loss.kind hybrid trains a variance: expected diffusion.variance learned_range, got ",
            enum_word(config.diffusion.variance));
  check_arg(!with_bound || loss.kind == LossKind::kHybrid || loss.weighting == LossWeighting::kNone,
            "[", where, "] loss.kind ", enum_word(loss.kind),
            " weighs timesteps itself: expected loss.weighting none, got ",
            enum_word(loss.weighting));
  check_arg(!with_bound || config.diffusion.num_timesteps >= 2, "[", where, "] loss.kind ",
            enum_word(loss.kind), ": expected diffusion.num_timesteps of at least 2, got ",
            config.diffusion.num_timesteps);
}

void validate_ema(const EmaConfig& ema, const std::string& where) {
  constexpr double kSmallest = 1e-4;
  constexpr double kWidest = 0.2886;  // sqrt(1/12): every step counts the same
  for (size_t i = 0; i < ema.power_stds.size(); ++i) {
    const double std = ema.power_stds[i];
    check_arg(std >= kSmallest && std <= kWidest, "[", where, "] ema.power_stds: expected each ",
              "from ", kSmallest, " to ", kWidest, ", got ", std);
    check_arg(std::count(ema.power_stds.begin(), ema.power_stds.end(), std) == 1, "[", where,
              "] ema.power_stds: expected each once, got ", std, " again");
  }
}

void validate_self_conditioning(const RunConfig& config, const std::string& where) {
  if (!config.train.self_conditioning) return;
  const int64_t micro_batch = config.train.batch_size / config.train.accumulation;
  check_arg(micro_batch % 2 == 0, "[", where, "] train.self_conditioning takes half of the images ",
            "computed at once: expected train.batch_size / train.accumulation even, got ",
            micro_batch);
  check_arg(config.model.kind == ModelKind::kUNet2D, "[", where,
            "] train.self_conditioning needs a network with twice the channels in: expected ",
            "model.kind unet2d, got ", enum_word(config.model.kind));
  check_arg(config.diffusion.prediction != PredictionType::kEdm, "[", where,
            "] train.self_conditioning: expected diffusion.prediction epsilon, sample or ",
            "v_prediction, got edm");
}

void validate_gradient_checkpointing(const RunConfig& config, const std::string& where) {
  check_arg(!config.train.gradient_checkpointing || config.model.kind != ModelKind::kSimpleUnet,
            "[", where,
            "] train.gradient_checkpointing: expected model.kind unet2d or classifier, ", "got ",
            enum_word(config.model.kind));
}

void validate_super_resolution(const RunConfig& config, const std::string& where) {
  if (config.train.super_resolution == 0) return;
  check_arg(config.train.super_resolution >= 2, "[", where,
            "] train.super_resolution enlarges images: expected 0, or 2 and more, got ",
            config.train.super_resolution);
  check_arg(config.model.kind == ModelKind::kUNet2D, "[", where,
            "] train.super_resolution needs a network with more channels in: expected model.kind ",
            "unet2d, got ", enum_word(config.model.kind));
}

void validate_augment(const RunConfig& config, const std::string& where) {
  const AugmentConfig& augment = config.augment;
  if (!augment.enabled) return;
  check_arg(
      config.model.kind == ModelKind::kUNet2D, "[", where,
      "] augment.enabled needs a network that is told of it: expected model.kind unet2d, got ",
      enum_word(config.model.kind));
  check_arg(augment.num_labels() > 0, "[", where,
            "] augment.enabled: expected at least one kind of transformation on, got none");
  check_arg(!augment.x_flip || !config.data.horizontal_flip, "[", where,
            "] augment.x_flip tells the network which images are mirrored: expected ",
            "data.horizontal_flip = false, got true");
}

void validate_train(const RunConfig& config, const std::string& where) {
  const TrainConfig& train = config.train;
  check_arg(train.batch_size % train.accumulation == 0, "[", where,
            "] train.accumulation divides the batch: expected a divisor of train.batch_size ",
            train.batch_size, ", got ", train.accumulation);
  const bool draws = train.preview_every > 0 && config.model.kind != ModelKind::kClassifier;
  check_arg(!draws || train.preview_steps <= config.diffusion.num_timesteps, "[", where,
            "] train.preview_steps: expected at most diffusion.num_timesteps ",
            config.diffusion.num_timesteps, ", got ", train.preview_steps);
  check_arg(!train.class_conditional || config.model.kind == ModelKind::kUNet2D, "[", where,
            "] train.class_conditional needs a network that takes labels: expected model.kind ",
            "unet2d, got ", enum_word(config.model.kind));
  const bool has_table =
      train.class_conditional && config.model.unet2d.class_embed_type == ClassEmbedType::kNone;
  check_arg(train.class_dropout == 0 || has_table, "[", where,
            "] train.class_dropout needs a table of classes: expected train.class_conditional = ",
            "true and model.unet2d.class_embed_type none, got class_conditional = ",
            train.class_conditional ? "true" : "false", " and class_embed_type ",
            enum_word(config.model.unet2d.class_embed_type));
}

}  // namespace

void validate(const RunConfig& config, const std::string& where) {
  validate_diffusion(config.diffusion, where);
  if (config.model.kind == ModelKind::kUNet2D) validate_unet2d(config.model.unet2d, where);
  if (config.model.kind == ModelKind::kClassifier) {
    validate_classifier(config, where);
  } else {
    validate_loss(config, where);
  }
  validate_augment(config, where);
  validate_train(config, where);
  validate_self_conditioning(config, where);
  validate_super_resolution(config, where);
  validate_gradient_checkpointing(config, where);
  validate_ema(config.ema, where);
}

}  // namespace ddpm
