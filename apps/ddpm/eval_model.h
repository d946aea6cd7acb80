#pragma once

#include <string>

#include "ddpm/config/train_config.h"
#include "ddpm/evaluation/held_out_loss.h"
#include "ddpm/pipeline/pipeline.h"
#include "eval_flags.h"
#include "image_source.h"

namespace ddpm::app {

/// What evaluations of a model on held-out images take.
struct EvalModelFlags {
  EvalFlags eval;
  std::string model;
  std::string data;  ///< Empty: that of the model's run.
  HeldOutOptions options;
  bool raw_weights = false;
};

/// Adds the positional model, --data, --seed, --raw-weights and add_eval_flags; `flags` must
/// outlive the command.
void add_eval_model_flags(CLI::App& command, EvalModelFlags& flags);

/// A model with its loss: its run's, or where no run is beside it to say it squared error (with a
/// learned variance hybrid).
struct ModelUnderTest {
  std::string path;
  Pipeline pipeline;
  LossConfig loss;
};

/// @throws std::invalid_argument for a classifier, or as load_pipeline.
ModelUnderTest load_model_under_test(const EvalModelFlags& flags, const std::string& path);

/// The images to measure flags.model on: of --data, or of the recipe of its run. A recipe's
/// held-out ones unless it is told otherwise; of other images those held out, or for want of any
/// all.
///
/// @throws std::invalid_argument if a recipe's data holds nothing out, or as load_images.
LoadedImages load_evaluation_images(const EvalModelFlags& flags, const ModelUnderTest& model);

/// The model as evaluation takes it. `model` must outlive it.
///
/// @throws std::invalid_argument if the model knows other classes than the images.
EvaluatedModel evaluated_model(const ModelUnderTest& model, const ImageSet& set);

/// flags.options with the batch size, and progress to `progress`, which must outlive them.
HeldOutOptions held_out_options(const EvalModelFlags& flags, Progress& progress);

}  // namespace ddpm::app
