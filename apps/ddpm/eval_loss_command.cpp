#include <ATen/ATen.h>

#include <CLI/CLI.hpp>
#include <cmath>
#include <cstdio>
#include <filesystem>
#include <memory>

#include "ddpm/config/toml_config.h"
#include "ddpm/core/check.h"
#include "ddpm/evaluation/held_out_loss.h"
#include "ddpm/pipeline/guided_denoiser.h"
#include "ddpm/pipeline/pipeline.h"
#include "eval_commands.h"
#include "eval_flags.h"
#include "image_source.h"
#include "number_check.h"

namespace ddpm::app {
namespace {

namespace fs = std::filesystem;

struct LossFlags {
  EvalFlags eval;
  std::string model;
  std::string against;  ///< Another model, for the same noise.
  std::string data;     ///< Empty: that of the model's run.
  HeldOutOptions options;
  bool raw_weights = false;
};

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

/// A model with its loss: its run's, or squared error where no run is there to say it.
struct ModelUnderTest {
  Pipeline pipeline;
  LossConfig loss;
};

ModelUnderTest load_model_under_test(const LossFlags& flags, const std::string& path) {
  ModelUnderTest model{.pipeline = load_pipeline(
                           path, {.device = flags.eval.device, .raw_weights = flags.raw_weights}),
                       .loss = {}};
  check_arg(model.pipeline.folder.model.kind != ModelKind::kClassifier, "[eval loss] ", path,
            ": expected a model that draws images, got a classifier");
  const fs::path recipe = recipe_of_model(path);
  if (!recipe.empty()) {
    model.loss = load_recipe(recipe).loss;
  } else if (model.pipeline.folder.diffusion.variance == VarianceType::kLearnedRange) {
    model.loss.kind = LossKind::kHybrid;
  }
  return model;
}

/// The data to measure on: held-out images of a recipe's data, or all that a path holds.
ImageSource evaluation_data(const LossFlags& flags) {
  const fs::path own = recipe_of_model(flags.model);
  check_arg(!flags.data.empty() || !own.empty(), "[--data] ", flags.model,
            ": expected images to measure on, since no recipe beside the model says them");
  ImageSource source =
      parse_image_source(flags.data.empty() ? own.string() : flags.data, flags.eval.overrides);
  if (source.split) return source;
  if (has_test_split(source.data)) {
    source.data.split = DataSplit::kTest;
  } else {
    check_arg(!source.is_recipe, "[eval loss] ", source.path,
              ": its data holds no images out: expected data.held_out_fraction above 0, other "
              "images with --data PATH, or ",
              source.path, ":train for those of training");
  }
  return source;
}

/// @throws std::invalid_argument if the model knows other classes than the data.
bool takes_labels(const std::string& path, const ModelFolder& folder, const ImageSet& set) {
  const int64_t classes = count_classes(folder);
  if (classes == 0) return false;
  const std::vector<std::string>& known = folder.extras.class_names;
  const bool same = known.empty() || set.class_names.empty() || known == set.class_names;
  check_arg(!set.class_names.empty() && same && set.labels.max().item<int64_t>() < classes,
            "[eval loss] ", path, ": expected images of its ", classes, " classes, got '", set.name,
            "' with ", set.class_names.size(), same ? "" : " of other names");
  return true;
}

HeldOutLoss measure_loss(const LossFlags& flags, const std::string& path,
                         const ModelUnderTest& model, const ImageSet& set) {
  const Pipeline& pipeline = model.pipeline;
  const bool labelled = takes_labels(path, pipeline.folder, set);
  const LabelledNetwork network = [&](const Tensor& x_t, const Tensor& t, const Tensor& labels) {
    return make_denoise_fn(pipeline, labelled ? labels : Tensor())(x_t, t);
  };
  Progress progress(
      {.total = set.images.size(0), .label = "loss", .style = eval_progress_style(flags.eval)});
  HeldOutOptions options = flags.options;
  options.batch_size = flags.eval.batch_size;
  options.progress = [&](int64_t done) { progress.update(done); };
  const HeldOutLoss loss = held_out_loss({.schedule = pipeline.schedule,
                                          .prediction = pipeline.folder.diffusion.prediction,
                                          .loss = model.loss,
                                          .network = network},
                                         set, options);
  progress.finish();
  return loss;
}

nlohmann::ordered_json estimate_json(const LossEstimate& estimate) {
  return {{"mean", estimate.mean},
          {"standard_error", estimate.standard_error},
          {"quarter_means", estimate.quarter_means}};
}

nlohmann::ordered_json loss_report(const LossFlags& flags, const ModelUnderTest& model,
                                   const LoadedImages& images, const HeldOutLoss& loss) {
  nlohmann::ordered_json objective{{"loss", enum_word(model.loss.kind)},
                                   {"weighting", enum_word(model.loss.weighting)}};
  objective.update(estimate_json(loss.objective));
  return {{"metric", "held-out loss"},
          {"model", model_json(flags.model, model.pipeline.folder)},
          {"data", images.about},
          {"draws", loss.num_draws},
          {"seed", flags.options.seed},
          {"objective", objective},
          {"plain", estimate_json(loss.plain)},
          {"eps_mse", estimate_json(loss.eps_mse)}};
}

void print_estimate(const char* name, const nlohmann::ordered_json& estimate) {
  const auto quarter = [&](size_t i) {
    const auto& mean = estimate["quarter_means"][i];
    return mean.is_number() ? mean.get<double>() : std::nan("");
  };
  std::printf("  %-12s %.6f +- %.6f   by quarter of t: %.4g %.4g %.4g %.4g\n", name,
              estimate["mean"].get<double>(), estimate["standard_error"].get<double>(), quarter(0),
              quarter(1), quarter(2), quarter(3));
}

void print_loss(const nlohmann::ordered_json& report) {
  const auto& model = report["model"];
  const auto& data = report["data"];
  std::printf("held-out loss of %s (hash %s, step %lld)\n",
              model["path"].get<std::string>().c_str(), model["hash"].get<std::string>().c_str(),
              model["step"].get<long long>());
  std::printf("  on %lld images of %s (%s), %lld timesteps each, seed %llu\n",
              data["images"].get<long long>(), data["path"].get<std::string>().c_str(),
              data["split"].get<std::string>().c_str(), report["draws"].get<long long>(),
              report["seed"].get<unsigned long long>());
  std::printf("  %s\n", data["preprocessing"].get<std::string>().c_str());
  const auto& objective = report["objective"];
  print_estimate("objective", objective);
  print_estimate("unweighted", report["plain"]);
  print_estimate("eps MSE", report["eps_mse"]);
  std::printf("  objective: %s, weighting %s\n", objective["loss"].get<std::string>().c_str(),
              objective["weighting"].get<std::string>().c_str());
  if (!report.contains("difference")) return;
  const auto& difference = report["difference"];
  std::printf("  eps MSE minus that of %s (hash %s): %.6f +- %.6f\n",
              difference["against"]["path"].get<std::string>().c_str(),
              difference["against"]["hash"].get<std::string>().c_str(),
              difference["eps_mse"]["mean"].get<double>(),
              difference["eps_mse"]["standard_error"].get<double>());
}

void run_eval_loss(const LossFlags& flags) {
  prepare_evaluation(flags.eval);
  const ModelUnderTest model = load_model_under_test(flags, flags.model);
  const LoadedImages images =
      load_images(evaluation_data(flags), {.command = "eval loss",
                                           .shape = model.pipeline.image_shape(),
                                           .max_images = flags.eval.max_images});
  const HeldOutLoss loss = measure_loss(flags, flags.model, model, images.set);
  nlohmann::ordered_json report = loss_report(flags, model, images, loss);
  if (!flags.against.empty()) {
    const ModelUnderTest other = load_model_under_test(flags, flags.against);
    check_arg(other.pipeline.image_shape() == model.pipeline.image_shape(), "[--against] ",
              flags.against, ": expected a model of images ",
              at::IntArrayRef(model.pipeline.image_shape()), ", got ",
              at::IntArrayRef(other.pipeline.image_shape()));
    const PairedDifference difference = paired_difference(
        loss.eps_mse, measure_loss(flags, flags.against, other, images.set).eps_mse);
    report["difference"] = {
        {"against", model_json(flags.against, other.pipeline.folder)},
        {"eps_mse", {{"mean", difference.mean}, {"standard_error", difference.standard_error}}}};
  }
  if (flags.eval.json) {
    std::printf("%s\n", report.dump(2).c_str());
  } else {
    print_loss(report);
  }
}

}  // namespace

void add_eval_loss_command(CLI::App& eval) {
  auto* command = eval.add_subcommand(
      "loss",
      "The loss of a model on images that it was not trained on, at timesteps and noise that are "
      "the same for every model. 'eps MSE' is the error of the predicted noise whatever the model "
      "predicts and its loss is: compare models by that one.\n\nExamples:\n"
      "  ddpm eval loss runs/fashion_mnist                    on its data's test images\n"
      "  ddpm eval loss runs/a --against runs/b               the difference, at the same noise\n"
      "  ddpm eval loss MODEL --data photos -n 1000 --json    on other images\n"
      "  ddpm eval loss runs/a --data runs/a/recipe.toml:train   on what it was trained on");
  auto flags = std::make_shared<LossFlags>();
  flags->eval.batch_size = flags->options.batch_size;
  command->add_option("model", flags->model, "run folder, checkpoint or model folder")->required();
  command->add_option("--data", flags->data,
                      "recipe, folder of images, .npz, IDX or CIFAR files; its held-out images, or "
                      "with :train behind it those of training; default: the run's recipe");
  command->add_option("--against", flags->against, "another model, to be compared");
  command->add_option("--draws", flags->options.num_draws, "timesteps of each image")
      ->capture_default_str();
  command->add_option("--seed", flags->options.seed, "of timesteps and noise")
      ->check(at_least_zero())
      ->capture_default_str();
  command->add_flag("--raw-weights", flags->raw_weights, "the weights instead of their EMA");
  add_eval_flags(*command, flags->eval);
  command->callback([flags] { run_eval_loss(*flags); });
}

}  // namespace ddpm::app
