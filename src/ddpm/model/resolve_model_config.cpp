#include <stdexcept>

#include "ddpm/core/check.h"
#include "ddpm/model/network.h"
#include "ddpm/model/simple_unet_placement.h"

namespace ddpm {
namespace {

constexpr const char* kResolving = "[resolve_model_config] ";

void resolve_size(const char* field, int64_t& value, int64_t from_data) {
  check_arg(value == 0 || value == from_data, kResolving, field,
            " disagrees with the data: expected ", from_data, ", got ", value);
  value = from_data;
}

/// x_t, then what else the network sees of an image.
int64_t input_channels(const NetworkDemands& demands, int64_t channels, int64_t image_size) {
  const int64_t factor = demands.super_resolution;
  check_arg(factor == 0 || image_size % factor == 0, kResolving,
            "train.super_resolution must divide the images' size: expected a divisor of ",
            image_size, ", got ", factor);
  return channels * (1 + int64_t{demands.self_conditioning} + int64_t{factor > 0});
}

void resolve_classes(UNet2DConfig& config, int64_t num_classes, bool null_class) {
  const bool has_table =
      config.class_embed_type == ClassEmbedType::kNone && config.num_class_embeds > 0;
  if (num_classes == 0) {
    check_arg(!has_table, kResolving,
              "unet2d.num_class_embeds wants class labels and the run gives none: expected 0, got ",
              config.num_class_embeds);
    check_arg(config.class_embed_type == ClassEmbedType::kNone, kResolving,
              "unet2d.class_embed_type wants class labels and the run gives none: expected none, "
              "got ",
              enum_word(config.class_embed_type));
    return;
  }
  check_arg(config.class_embed_type != ClassEmbedType::kIdentity, kResolving,
            "class labels do not fit the network: expected unet2d.class_embed_type none or "
            "timestep, got identity");
  if (null_class) {
    check_arg(config.class_embed_type == ClassEmbedType::kNone, kResolving,
              "a null class is a row of a table: expected unet2d.class_embed_type none, got ",
              enum_word(config.class_embed_type));
    resolve_size("unet2d.num_class_embeds (the null class is the last)", config.num_class_embeds,
                 num_classes + 1);
    return;
  }
  check_arg(!has_table || config.num_class_embeds >= num_classes, kResolving,
            "unet2d.num_class_embeds is smaller than the data's classes: expected at least ",
            num_classes, ", got ", config.num_class_embeds);
  if (config.class_embed_type == ClassEmbedType::kNone && !has_table) {
    config.num_class_embeds = num_classes;
  }
}

void resolve_classifier(ClassifierConfig& config, int64_t channels, int64_t image_size,
                        int64_t num_classes) {
  resolve_size("classifier.in_channels", config.in_channels, channels);
  check_arg(num_classes >= 2, kResolving,
            "a classifier learns the data's class labels: expected data of at least 2 classes, "
            "got ",
            num_classes);
  resolve_size("classifier.num_classes", config.num_classes, num_classes);
  const size_t levels = config.block_out_channels.size();
  check_arg(levels >= 1 && levels <= 16, kResolving,
            "classifier.block_out_channels: expected 1 to 16 levels, got ", levels);
  const int64_t factor = int64_t{1} << (levels - 1);
  check_arg(image_size % factor == 0, kResolving,
            "data.image_size must survive the classifier's halvings, one for each of "
            "block_out_channels after the first: expected a multiple of ",
            factor, ", got ", image_size);
}

void resolve_augmentation(int64_t& augment_dim, int64_t demanded) {
  if (demanded == 0) return;  // a network may take labels that its training does not give
  check_arg(augment_dim == 0 || augment_dim == demanded, kResolving,
            "unet2d.augment_dim disagrees with the kinds of augmentation that are on: expected ",
            demanded, ", got ", augment_dim);
  augment_dim = demanded;
}

}  // namespace

ModelConfig resolve_model_config(ModelConfig config, int64_t channels, int64_t image_size,
                                 int64_t num_classes, const NetworkDemands& demands) {
  switch (config.kind) {
    case ModelKind::kUNet2D:
      resolve_size("unet2d.in_channels", config.unet2d.in_channels,
                   input_channels(demands, channels, image_size));
      resolve_size("unet2d.out_channels", config.unet2d.out_channels,
                   demands.learned_variance ? 2 * channels : channels);
      resolve_size("unet2d.sample_size", config.unet2d.sample_size, image_size);
      resolve_classes(config.unet2d, num_classes, demands.null_class);
      resolve_augmentation(config.unet2d.augment_dim, demands.augment_dim);
      return config;
    case ModelKind::kSimpleUnet:
      resolve_size("simple_unet.image_channels", config.simple_unet.image_channels, channels);
      check_simple_unet(config.simple_unet, kResolving);
      check_arg(image_size % size_factor(config.simple_unet) == 0, kResolving,
                "data.image_size must survive simple_unet's halvings, one for each of "
                "level_channels after the first: expected a multiple of ",
                size_factor(config.simple_unet), ", got ", image_size);
      check_arg(!demands.self_conditioning, kResolving,
                "simple_unet has one input a channel: expected train.self_conditioning = false, "
                "got true");
      check_arg(demands.super_resolution == 0, kResolving,
                "simple_unet has one input a channel: expected train.super_resolution = 0, got ",
                demands.super_resolution);
      check_arg(!demands.learned_variance, kResolving,
                "simple_unet has one output a channel: expected diffusion.variance fixed_small or "
                "fixed_large, got learned_range");
      check_arg(
          demands.augment_dim == 0, kResolving,
          "simple_unet takes no labels of augmentation: expected augment.enabled = false, got "
          "true");
      check_arg(num_classes == 0, kResolving,
                "simple_unet takes no class labels: expected train.class_conditional = false, got "
                "true");
      return config;
    case ModelKind::kClassifier:
      resolve_classifier(config.classifier, channels, image_size, num_classes);
      return config;
  }
  throw std::logic_error("[resolve_model_config] not a ModelKind");
}

RunConfig resolve_run_config(RunConfig config, int64_t channels, int64_t image_size,
                             int64_t num_classes) {
  const NetworkDemands demands{
      .learned_variance = config.diffusion.variance == VarianceType::kLearnedRange,
      .self_conditioning = config.train.self_conditioning,
      .super_resolution = config.train.super_resolution,
      .null_class = config.train.class_dropout > 0,
      .augment_dim = config.augment.enabled ? config.augment.num_labels() : 0};
  config.model = resolve_model_config(config.model, channels, image_size, num_classes, demands);
  return config;
}

}  // namespace ddpm
