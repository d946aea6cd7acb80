#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <memory>

#include "ddpm/core/check.h"
#include "ddpm/evaluation/variational_bound.h"
#include "eval_commands.h"
#include "eval_model.h"
#include "number_check.h"

namespace ddpm::app {
namespace {

constexpr int64_t kUsualDraws = 100;

VariationalBound measure_bound(const EvalModelFlags& flags, const ModelUnderTest& model,
                               const ImageSet& set) {
  Progress progress(
      {.total = set.images.size(0), .label = "nll", .style = eval_progress_style(flags.eval)});
  HeldOutOptions options = held_out_options(flags, progress);
  const int64_t all = model.pipeline.schedule.num_timesteps() - 1;
  if (options.num_draws == 0) options.num_draws = std::min(kUsualDraws, all);
  const VariationalBound bound = variational_bound(evaluated_model(model, set), set, options);
  progress.finish();
  return bound;
}

void print_bound(const nlohmann::ordered_json& report) {
  const auto& about = report["model"];
  const auto& bits = report["bits_per_dim"];
  std::printf("variational bound of %s (hash %s, step %lld)\n",
              about["path"].get<std::string>().c_str(), about["hash"].get<std::string>().c_str(),
              about["step"].get<long long>());
  print_measured_images(report);
  std::printf("  %.4f +- %.4f bits per dimension = prior %.2g + steps %.4f + last step %.4f\n",
              bits["mean"].get<double>(), bits["standard_error"].get<double>(),
              report["prior"].get<double>(), report["kl_terms"].get<double>(),
              report["first_term"].get<double>());
  std::printf("  variance %s, x_0 clipped\n", report["variance"].get<std::string>().c_str());
}

void run_eval_nll(const EvalModelFlags& flags) {
  prepare_evaluation(flags.eval);
  const ModelUnderTest model = load_model_under_test(flags, flags.model);
  const LoadedImages images = load_evaluation_images(flags, model);
  const VariationalBound bound = measure_bound(flags, model, images.set);
  nlohmann::ordered_json report{
      {"metric", "variational bound on -log p(x_0)"},
      {"model", model_json(flags.model, model.pipeline.folder)},
      {"data", images.about},
      {"draws", bound.num_draws},
      {"seed", flags.options.seed},
      {"variance", enum_word(model.pipeline.folder.diffusion.variance)},
      {"clip", true},
      {"bits_per_dim", {{"mean", bound.bits_per_dim}, {"standard_error", bound.standard_error}}},
      {"prior", bound.prior},
      {"kl_terms", bound.kl_terms},
      {"first_term", bound.first_term}};
  report.update(settings_json(flags.eval, model.pipeline.device));
  if (flags.eval.json) {
    std::printf("%s\n", report.dump(2).c_str());
  } else {
    print_bound(report);
  }
}

}  // namespace

void add_eval_nll_command(CLI::App& eval) {
  auto* command = eval.add_subcommand(
      "nll",
      "The variational bound on the negative log-likelihood of held-out images, in bits per "
      "dimension (DDPM Eq. 5, as the DDPM and Improved DDPM papers report it).\n\nExamples:\n"
      "  ddpm eval nll runs/cifar10_iddpm -n 1000               estimated from 100 timesteps each\n"
      "  ddpm eval nll runs/cifar10_iddpm -n 1000 --draws 3999  from all");
  auto flags = std::make_shared<EvalModelFlags>();
  flags->options.num_draws = 0;
  command
      ->add_option(
          "--draws", flags->options.num_draws,
          "timesteps of each image besides the first; 0: 100, or all where there are fewer")
      ->check(at_least_zero())
      ->capture_default_str();
  add_eval_model_flags(*command, *flags);
  command->callback([flags] { run_eval_nll(*flags); });
}

}  // namespace ddpm::app
