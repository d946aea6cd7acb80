#include <CLI/CLI.hpp>
#include <cstdio>
#include <memory>
#include <optional>

#include "ddpm/core/check.h"
#include "ddpm/evaluation/held_out_loss.h"
#include "eval_commands.h"
#include "eval_model.h"

namespace ddpm::app {
namespace {

struct LossFlags {
  EvalModelFlags model;
  std::string against;  ///< Another model, for the same noise.
};

HeldOutLoss measure_loss(const LossFlags& flags, const ModelUnderTest& model, const ImageSet& set) {
  Progress progress({.total = set.images.size(0),
                     .label = "loss",
                     .style = eval_progress_style(flags.model.eval)});
  const HeldOutLoss loss =
      held_out_loss(evaluated_model(model, set), set, held_out_options(flags.model, progress));
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
  nlohmann::ordered_json report{{"metric", "held-out loss"},
                                {"model", model_json(model.path, model.pipeline.folder)},
                                {"data", images.about},
                                {"draws", loss.num_draws},
                                {"seed", flags.model.options.seed}};
  report.update(settings_json(flags.model.eval, model.pipeline.device));
  if (model.recipe) {  // else nobody knows what training lowered
    const LossConfig& config = model.recipe->loss;
    report["objective"] = {{"loss", enum_word(config.kind)},
                           {"weighting", enum_word(config.weighting)}};
    report["objective"].update(estimate_json(loss.objective));
    report["plain"] = estimate_json(loss.plain);
  }
  report["eps_mse"] = estimate_json(loss.eps_mse);
  return report;
}

void print_estimate(const char* name, const nlohmann::ordered_json& estimate) {
  const auto quarter = [&](size_t i) { return estimate["quarter_means"][i].get<double>(); };
  std::printf("  %-12s %.6f +- %.6f   by quarter of t: %.4g %.4g %.4g %.4g\n", name,
              estimate["mean"].get<double>(), estimate["standard_error"].get<double>(), quarter(0),
              quarter(1), quarter(2), quarter(3));
}

void print_loss(const nlohmann::ordered_json& report) {
  const auto& model = report["model"];
  std::printf("held-out loss of %s (hash %s, step %lld)\n",
              model["path"].get<std::string>().c_str(), model["hash"].get<std::string>().c_str(),
              model["step"].get<long long>());
  print_measured_images(report);
  if (report.contains("objective")) {
    const auto& objective = report["objective"];
    print_estimate("objective", objective);
    print_estimate("unweighted", report["plain"]);
    std::printf("  objective: %s, weighting %s\n", objective["loss"].get<std::string>().c_str(),
                objective["weighting"].get<std::string>().c_str());
  }
  print_estimate("eps MSE", report["eps_mse"]);
  if (!report.contains("difference")) return;
  const auto& difference = report["difference"];
  std::printf("  eps MSE minus that of %s (hash %s): %.6f +- %.6f\n",
              difference["against"]["path"].get<std::string>().c_str(),
              difference["against"]["hash"].get<std::string>().c_str(),
              difference["eps_mse"]["mean"].get<double>(),
              difference["eps_mse"]["standard_error"].get<double>());
}

/// The other model, if it can be compared.
ModelUnderTest load_against(const LossFlags& flags, const ModelUnderTest& model) {
  ModelUnderTest other = load_model_under_test(flags.model, flags.against);
  check_arg(other.pipeline.image_shape() == model.pipeline.image_shape(), "[--against] ",
            flags.against, ": expected a model of images ",
            at::IntArrayRef(model.pipeline.image_shape()), ", got ",
            at::IntArrayRef(other.pipeline.image_shape()));
  check_arg(is_same_schedule(other.pipeline.schedule, model.pipeline.schedule), "[--against] ",
            flags.against, ": expected a model of the noise schedule of ", flags.model.model,
            ", since an eps MSE says nothing of another's (ddpm eval nll does), ",
            "got a different schedule");
  return other;
}

nlohmann::ordered_json difference_report(const LossFlags& flags, const ModelUnderTest& other,
                                         const HeldOutLoss& loss, const ImageSet& set) {
  const PairedDifference difference =
      paired_difference(loss.eps_mse, measure_loss(flags, other, set).eps_mse);
  return {{"against", model_json(flags.against, other.pipeline.folder)},
          {"eps_mse", {{"mean", difference.mean}, {"standard_error", difference.standard_error}}}};
}

void run_eval_loss(const LossFlags& flags) {
  prepare_evaluation(flags.model.eval);
  const ModelUnderTest model = load_model_under_test(flags.model, flags.model.model);
  std::optional<ModelUnderTest> other;
  if (!flags.against.empty()) other = load_against(flags, model);
  const LoadedImages images = load_evaluation_images(flags.model, model, other ? &*other : nullptr);
  const HeldOutLoss loss = measure_loss(flags, model, images.set);
  nlohmann::ordered_json report = loss_report(flags, model, images, loss);
  if (other) report["difference"] = difference_report(flags, *other, loss, images.set);
  if (flags.model.eval.json) {
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
      "predicts and its loss is: compare models of one noise schedule by that one, others by "
      "ddpm eval nll.\n\nExamples:\n"
      "  ddpm eval loss runs/fashion_mnist                    on its data's test images\n"
      "  ddpm eval loss runs/a --against runs/b               the difference, at the same noise\n"
      "  ddpm eval loss MODEL --data photos -n 1000 --json    on other images\n"
      "  ddpm eval loss runs/a --data runs/a/recipe.toml:train   on what it was trained on");
  auto flags = std::make_shared<LossFlags>();
  command->add_option("--against", flags->against,
                      "another model of the same noise schedule, to be compared");
  command->add_option("--draws", flags->model.options.num_draws, "timesteps of each image")
      ->capture_default_str();
  add_eval_model_flags(*command, flags->model);
  command->callback([flags] { run_eval_loss(*flags); });
}

}  // namespace ddpm::app
