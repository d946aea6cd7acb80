#pragma once

#include "ddpm/config/augment_config.h"
#include "ddpm/config/data_config.h"
#include "ddpm/config/diffusion_config.h"
#include "ddpm/config/model_config.h"
#include "ddpm/config/train_config.h"

namespace ddpm {

/// Everything that `ddpm train` takes: a recipe. Saved, resolved, in every run and checkpoint.
struct RunConfig {
  DataConfig data;
  AugmentConfig augment;
  DiffusionConfig diffusion;
  ModelConfig model;
  LossConfig loss;
  OptimizerConfig optimizer;
  EmaConfig ema;
  TrainConfig train;

  /// The label that stands for "no class", once the network's sizes are resolved: the last row of
  /// its class embedding table, which is the number of the data's classes. -1 without class
  /// dropout.
  int64_t null_class() const {
    return train.class_dropout > 0 ? model.unet2d.num_class_embeds - 1 : -1;
  }

  /// Whether training needs the data's class labels: as the network's input, or as its target.
  bool takes_labels() const {
    return train.class_conditional || model.kind == ModelKind::kClassifier;
  }

  template <typename Visitor>
  void visit_fields(Visitor&& visit) {
    visit("data", data, "the training images");
    visit("augment", augment, "their augmentation");
    visit("diffusion", diffusion, "the forward process and what is predicted");
    visit("model", model, "the network");
    visit("loss", loss, "the training loss");
    visit("optimizer", optimizer, "the optimizer and its learning rate");
    visit("ema", ema, "the moving average of the weights, which sampling uses");
    visit("train", train, "the run");
  }
};

}  // namespace ddpm
