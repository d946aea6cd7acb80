#include "eval_model.h"

#include <ATen/ATen.h>

#include <CLI/CLI.hpp>
#include <filesystem>
#include <system_error>

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

bool is_same_path(const fs::path& a, const fs::path& b) {
  std::error_code absent;
  return fs::equivalent(a, b, absent);
}

/// Which files a fraction holds out follows from the fraction: another one's were trained on.
void check_own_fraction(const ModelUnderTest& model, const DataConfig& data) {
  const double own = model.recipe->data.held_out_fraction;
  check_arg(data.held_out_fraction == own, "[eval] ", model.path,
            " was trained on these images: expected data.held_out_fraction ", own,
            " as in its run, got ", data.held_out_fraction);
}

/// Checks that held-out images are not those that the model was trained on.
void check_unseen(const ModelUnderTest& model, const DataConfig& data) {
  if (!model.recipe || data.split != DataSplit::kTest) return;
  if (is_same_path(model.recipe->data.path, data.path)) check_own_fraction(model, data);
}

ImageSource evaluation_source(const EvalModelFlags& flags, const ModelUnderTest& model) {
  const fs::path own = recipe_of_model(flags.model);
  check_arg(!flags.data.empty() || !own.empty(), "[--data] ", flags.model,
            ": expected images to measure on, since no recipe beside the model says them");
  ImageSource source =
      parse_image_source(flags.data.empty() ? own.string() : flags.data, flags.eval.overrides);
  if (model.recipe && is_same_path(source.path, own)) check_own_fraction(model, source.data);
  if (source.split) return source;
  if (has_test_split(source.data)) {
    source.data.split = DataSplit::kTest;
  } else {
    check_arg(!source.is_recipe, "[eval] ", source.path,
              ": its data holds no images out: train with data.held_out_fraction above 0, measure "
              "on other images with --data PATH, or on those of training with --data ",
              source.path, ":train");
  }
  return source;
}

LossConfig loss_of(const ModelUnderTest& model) {
  if (model.recipe) return model.recipe->loss;
  LossConfig loss;
  const bool learned = model.pipeline.folder.diffusion.variance == VarianceType::kLearnedRange;
  if (learned) loss.kind = LossKind::kHybrid;
  return loss;
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
                       .recipe = {}};
  const ModelFolder& folder = model.pipeline.folder;
  check_draws_images(folder);
  check_arg(folder.extras.super_resolution == 0, "[eval] ", path,
            ": expected a model that draws images from noise alone, got one that enlarges images ",
            folder.extras.super_resolution, " times");
  model.recipe = folder.recipe;
  const fs::path beside = recipe_of_model(path);
  if (!model.recipe && !beside.empty()) model.recipe = load_recipe(beside);
  return model;
}

LoadedImages load_evaluation_images(const EvalModelFlags& flags, const ModelUnderTest& model,
                                    const ModelUnderTest* against) {
  const ImageSource source = evaluation_source(flags, model);
  check_unseen(model, source.data);
  if (against != nullptr) check_unseen(*against, source.data);
  return load_images(source, {.command = "eval",
                              .shape = model.pipeline.image_shape(),
                              .max_images = flags.eval.max_images});
}

EvaluatedModel evaluated_model(const ModelUnderTest& model, const ImageSet& set) {
  const Pipeline& pipeline = model.pipeline;
  const bool labelled = takes_labels(model, set);
  return {.schedule = pipeline.schedule,
          .prediction = pipeline.folder.diffusion.prediction,
          .loss = loss_of(model),
          .network = [network = make_labelled_denoise_fn(pipeline), labelled](
                         const Tensor& x_t, const Tensor& t, const Tensor& labels) {
            return network(x_t, t, labelled ? labels : Tensor());
          }};
}

HeldOutOptions held_out_options(const EvalModelFlags& flags, Progress& progress) {
  HeldOutOptions options = flags.options;
  options.batch_size = flags.eval.batch_size;
  options.progress = [&progress](int64_t done) { progress.update(done); };
  return options;
}

}  // namespace ddpm::app
