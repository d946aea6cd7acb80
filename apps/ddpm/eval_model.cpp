#include "eval_model.h"

#include <ATen/ATen.h>

#include <CLI/CLI.hpp>
#include <filesystem>

#include "ddpm/config/toml_config.h"
#include "ddpm/core/check.h"
#include "ddpm/pipeline/guided_denoiser.h"
#include "number_check.h"

namespace ddpm::app {
namespace {

namespace fs = std::filesystem;

/// The recipe of the run that a model is of; empty for a folder from elsewhere.
fs::path recipe_of_model(const std::string& model) {
  fs::path folder = fs::absolute(model).lexically_normal();
  if (!folder.has_filename()) folder = folder.parent_path();
  fs::path run = folder;
  if (folder.parent_path().filename() == "checkpoints") run = folder.parent_path().parent_path();
  const bool is_export =
      folder.filename() == "model" && fs::is_directory(folder.parent_path() / "checkpoints");
  if (is_export) run = folder.parent_path();
  const fs::path recipe = run / "recipe.toml";
  return fs::exists(recipe) ? recipe : fs::path();
}

ImageSource evaluation_source(const EvalModelFlags& flags) {
  const fs::path own = recipe_of_model(flags.model);
  check_arg(!flags.data.empty() || !own.empty(), "[--data] ", flags.model,
            ": expected images to measure on, since no recipe beside the model says them");
  ImageSource source =
      parse_image_source(flags.data.empty() ? own.string() : flags.data, flags.eval.overrides);
  if (source.split) return source;
  if (has_test_split(source.data)) {
    source.data.split = DataSplit::kTest;
  } else {
    check_arg(!source.is_recipe, "[eval] ", source.path,
              ": its data holds no images out: expected data.held_out_fraction above 0, other "
              "images with --data PATH, or ",
              source.path, ":train for those of training");
  }
  return source;
}

bool takes_labels(const ModelUnderTest& model, const ImageSet& set) {
  const ModelFolder& folder = model.pipeline.folder;
  const int64_t classes = count_classes(folder);
  if (classes == 0) return false;
  const std::vector<std::string>& known = folder.extras.class_names;
  const bool same = known.empty() || known == set.class_names;
  check_arg(!set.class_names.empty() && same && set.labels.max().item<int64_t>() < classes,
            "[eval] ", model.path, ": expected images of its ", classes, " classes, got '",
            set.name, "' with ", set.class_names.size(), same ? "" : " of other names");
  return true;
}

}  // namespace

void add_eval_model_flags(CLI::App& command, EvalModelFlags& flags) {
  flags.eval.batch_size = flags.options.batch_size;
  command.add_option("model", flags.model, "run folder, checkpoint or model folder")->required();
  command.add_option("--data", flags.data,
                     "recipe, folder of images, .npz, IDX or CIFAR files; its held-out images, or "
                     "with :train behind it those of training; default: the run's recipe");
  command.add_option("--seed", flags.options.seed, "of timesteps and noise")
      ->check(at_least_zero())
      ->capture_default_str();
  command.add_flag("--raw-weights", flags.raw_weights, "the weights instead of their EMA");
  add_eval_flags(command, flags.eval);
}

ModelUnderTest load_model_under_test(const EvalModelFlags& flags, const std::string& path) {
  ModelUnderTest model{.path = path,
                       .pipeline = load_pipeline(
                           path, {.device = flags.eval.device, .raw_weights = flags.raw_weights}),
                       .loss = {}};
  check_arg(model.pipeline.folder.model.kind != ModelKind::kClassifier, "[eval] ", path,
            ": expected a model that draws images, got a classifier");
  const fs::path recipe = recipe_of_model(path);
  if (!recipe.empty()) {
    model.loss = load_recipe(recipe).loss;
  } else if (model.pipeline.folder.diffusion.variance == VarianceType::kLearnedRange) {
    model.loss.kind = LossKind::kHybrid;
  }
  return model;
}

LoadedImages load_evaluation_images(const EvalModelFlags& flags, const ModelUnderTest& model) {
  return load_images(evaluation_source(flags), {.command = "eval",
                                                .shape = model.pipeline.image_shape(),
                                                .max_images = flags.eval.max_images});
}

EvaluatedModel evaluated_model(const ModelUnderTest& model, const ImageSet& set) {
  const Pipeline& pipeline = model.pipeline;
  const bool labelled = takes_labels(model, set);
  return {
      .schedule = pipeline.schedule,
      .prediction = pipeline.folder.diffusion.prediction,
      .loss = model.loss,
      .network = [&pipeline, labelled](const Tensor& x_t, const Tensor& t, const Tensor& labels) {
        // A self-conditioned network's function remembers: a new one has no guess.
        return make_denoise_fn(pipeline, labelled ? labels : Tensor())(x_t, t);
      }};
}

HeldOutOptions held_out_options(const EvalModelFlags& flags, Progress& progress) {
  HeldOutOptions options = flags.options;
  options.batch_size = flags.eval.batch_size;
  options.progress = [&progress](int64_t done) { progress.update(done); };
  return options;
}

}  // namespace ddpm::app
