#pragma once

#include <optional>
#include <string>

#include "ddpm/config/run_config.h"
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

/// A model with the recipe of its run: what its checkpoint holds, or for an export what lies beside
/// it; none for a model folder from elsewhere, whose loss nobody knows.
struct ModelUnderTest {
  std::string path;
  Pipeline pipeline;
  std::optional<RunConfig> recipe;
};

/// @throws std::invalid_argument for a classifier, a model that enlarges images, or as
///         load_pipeline.
ModelUnderTest load_model_under_test(const EvalModelFlags& flags, const std::string& path);

/// The images to measure flags.model on: of --data, or of the recipe of its run. A recipe's
/// held-out ones unless it is told otherwise; of other images those held out, or for want of any
/// all.
///
/// @param against another model that is measured on them, if any.
/// @throws std::invalid_argument if a recipe's data holds nothing out, if a held_out_fraction other
///         than its run's would give a model images that it was trained on, or as load_images.
LoadedImages load_evaluation_images(const EvalModelFlags& flags, const ModelUnderTest& model,
                                    const ModelUnderTest* against = nullptr);

/// The model as evaluation takes it; its loss without a recipe is squared error, with a learned
/// variance hybrid. `model` must outlive it.
///
/// @throws std::invalid_argument if the model knows other classes than the images.
EvaluatedModel evaluated_model(const ModelUnderTest& model, const ImageSet& set);

/// flags.options with the batch size, and progress to `progress`, which must outlive them.
HeldOutOptions held_out_options(const EvalModelFlags& flags, Progress& progress);

}  // namespace ddpm::app
