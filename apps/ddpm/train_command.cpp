#include <CLI/CLI.hpp>
#include <cstdio>
#include <filesystem>
#include <memory>

#include "commands.h"
#include "ddpm/checkpoint/checkpoint_folder.h"
#include "ddpm/config/config_docs.h"
#include "ddpm/config/json_config.h"
#include "ddpm/config/toml_config.h"
#include "ddpm/core/check.h"
#include "ddpm/core/device.h"
#include "ddpm/core/log.h"
#include "ddpm/core/progress.h"
#include "ddpm/data/image_set.h"
#include "ddpm/model/network.h"
#include "ddpm/training/trainer.h"
#include "profile_run.h"
#include "report.h"
#include "run_estimate.h"
#include "run_folder.h"
#include "signals.h"

namespace ddpm::app {
namespace {

namespace fs = std::filesystem;

struct TrainFlags {
  std::string source;
  std::string run_folder;
  std::vector<std::string> overrides;
  bool resume = false;
  bool allow_older = false;
  bool overwrite = false;
  bool dry_run = false;
  bool json = false;
  bool quiet = false;
  int64_t profile_steps = 0;  ///< 0: train, don't profile
};

/// `source` is a recipe, or with --resume the run folder, which holds one.
fs::path recipe_path(const TrainFlags& flags) {
  if (!fs::is_directory(flags.source)) return flags.source;
  check_arg(flags.resume, "[train] ", flags.source,
            ": expected a recipe (.toml), got a folder; to go on with a run, add --resume");
  return fs::path(flags.source) / "recipe.toml";
}

fs::path run_folder_of(const TrainFlags& flags) {
  if (!flags.run_folder.empty()) return flags.run_folder;
  const fs::path source(flags.source);
  return fs::is_directory(source) ? source : fs::path("runs") / source.stem();
}

/// The checkpoint to go on from, after its recipe was compared with the wanted one.
CheckpointContents load_checkpoint(const TrainFlags& flags, const fs::path& run_folder,
                                   const RunConfig& recipe) {
  FoundCheckpoint found = find_checkpoint(run_folder, flags.allow_older).value();
  for (const std::string& damaged : found.damaged) log_warn(damaged);
  const std::string where = found.entry.folder.string();
  check_resumable(config_from_json<RunConfig>(found.contents.recipe, where), recipe);
  return std::move(found.contents);
}

ProgressStyle progress_style(const TrainFlags& flags) {
  if (flags.quiet) return ProgressStyle::kNone;
  return flags.json ? ProgressStyle::kJson : ProgressStyle::kAuto;
}

StopRequest poll_signals() {
  if (stop_signal() != 0) return StopRequest::kStop;
  return take_save_request() ? StopRequest::kSaveNow : StopRequest::kNone;
}

/// Shows a run's progress, with the latest of the logged values.
class TrainProgress {
 public:
  TrainProgress(const TrainFlags& flags, int64_t steps, int64_t first_step)
      : progress_({.total = steps,
                   .first_step = first_step,
                   .label = "train",
                   .style = progress_style(flags)}) {}

  TrainerHooks hooks() {
    return {.poll = poll_signals,
            .on_step = [this](int64_t step) { progress_.update(step, fields_); },
            .on_metrics = [this](int64_t, const MetricRow& row) { take(row); },
            .on_warning = [](const std::string& message) { log_warn(message); }};
  }

  void finish() { progress_.finish(); }

 private:
  void take(const MetricRow& row) {
    fields_.clear();
    for (const auto& [name, value] : row) {
      const bool is_shown = name == "loss" || name == "accuracy" || name == "grad_norm";
      if (is_shown) fields_.emplace_back(name, value);
    }
  }

  Progress progress_;
  ProgressFields fields_;
};

void train(const TrainFlags& flags, const RunConfig& recipe, const ImageSet& set, int& exit_code) {
  const fs::path run_folder = run_folder_of(flags);
  const auto network = make_network(recipe.model);
  FileLock lock = flags.resume ? lock_run_to_resume(run_folder)
                               : prepare_run_folder(run_folder, flags.overwrite);
  std::optional<CheckpointContents> checkpoint;
  if (flags.resume) {
    checkpoint = load_checkpoint(flags, run_folder, recipe);
  } else {
    initialize(*network, recipe.train.seed);
  }
  const int64_t first_step = checkpoint ? checkpoint->state.at("step").get<int64_t>() : 0;
  check_arg(first_step <= recipe.train.steps, "[--resume] train.steps: expected at least the ",
            first_step, " that are done, got ", recipe.train.steps);

  install_signal_handlers();
  TrainProgress progress(flags, recipe.train.steps, first_step);
  Trainer trainer(recipe, network, set, run_folder, progress.hooks(), std::move(lock));
  if (checkpoint) trainer.resume(*checkpoint);
  checkpoint.reset();
  const TrainResult result = trainer.run();
  progress.finish();
  if (result.reason == EndReason::kStopped) exit_code = 128 + stop_signal();
  std::printf("%s at step %lld: %s\n",
              result.reason == EndReason::kStopped ? "stopped and saved" : "finished",
              static_cast<long long>(result.step), run_folder.c_str());
}

void check_flags(const TrainFlags& flags) {
  check_arg(!(flags.resume && flags.overwrite),
            "[train] expected --resume or --overwrite, got both");
  if (flags.profile_steps == 0) return;
  const char* other = flags.resume      ? "--resume"
                      : flags.overwrite ? "--overwrite"
                      : flags.dry_run   ? "--dry-run"
                      : flags.json      ? "--json"
                                        : nullptr;
  check_arg(other == nullptr,
            "[--profile] it trains nothing and keeps no run: expected it without ",
            other == nullptr ? "" : other);
}

void run_train(const TrainFlags& flags, int& exit_code) {
  check_flags(flags);
  RunConfig recipe = load_recipe(recipe_path(flags), flags.overrides);
  check_arg(recipe.data.split == DataSplit::kTrain,
            "[train] data.split: expected train, since the other images are for evaluation, got ",
            enum_word(recipe.data.split));
  configure_cpu(recipe.train.threads);
  configure_gpu();
  const at::Device device = select_device(recipe.train.device);
  const ImageSet set = load_image_set(recipe.data);
  for (const std::string& skipped : set.skipped) log_warn("skipped " + skipped);
  recipe = resolve_recipe(recipe, set);
  if (flags.dry_run) {
    const fs::path run_folder = run_folder_of(flags);
    check_writable(run_folder);
    nlohmann::ordered_json report = estimate_run(recipe, set);
    report["run_folder"] = run_folder.string() + " (can be written to)";
    if (flags.json) {
      std::printf("%s\n", report.dump(2).c_str());
    } else {
      print_report(report);
    }
    return;
  }
  limit_threads_beside(device, recipe.train.threads);
  if (flags.profile_steps > 0) {
    const fs::path run_folder = run_folder_of(flags);
    check_writable(run_folder);
    profile_run(recipe, set, run_folder, flags.profile_steps);
    return;
  }
  train(flags, recipe, set, exit_code);
}

}  // namespace

void add_train_command(CLI::App& app, int& exit_code) {
  auto* command = app.add_subcommand(
      "train",
      "Train a network as a recipe says. Ctrl-C finishes the step, saves and ends with 130; "
      "SIGUSR1 "
      "saves and goes on.\n\nExamples:\n"
      "  ddpm train recipes/fashion_mnist.toml                 into runs/fashion_mnist\n"
      "  ddpm train recipes/my_images.toml --set data.path=cats -o runs/cats\n"
      "  ddpm train runs/cats --resume --set train.steps=90000 go on, for longer\n"
      "  ddpm train recipes/cifar10_ddpm.toml --dry-run        what it would take\n"
      "  ddpm train recipes/cifar10_ddpm.toml --profile        where a step's time goes");
  auto flags = std::make_shared<TrainFlags>();
  command->add_option("recipe", flags->source, "recipe (.toml), or with --resume a run folder")
      ->required();
  command->add_option("-o,--output", flags->run_folder, "run folder; default runs/NAME_OF_RECIPE");
  command->add_option("--set", flags->overrides,
                      "one field, as in train.batch_size=64 (docs/config.md)");
  command->add_flag("--resume", flags->resume, "go on from the newest checkpoint, to the bit");
  command->add_flag("--allow-older", flags->allow_older,
                    "where the newest is damaged, take the one before");
  command->add_flag("--overwrite", flags->overwrite, "replace the run that is there");
  command->add_flag("--dry-run", flags->dry_run, "check everything and estimate memory and time");
  command
      ->add_option("--profile", flags->profile_steps,
                   "take this many steps under the profiler instead of training (10): a table, "
                   "RUN/profile/trace.json and RUN/profile/kernels.csv")
      ->expected(0, 1)
      ->default_str("10")
      ->check(CLI::Range(int64_t{1}, int64_t{1000}))
      ->type_name("STEPS");
  command->add_flag("--json", flags->json,
                    "progress as one JSON object a line; with --dry-run one object");
  command
      ->add_flag_callback(
          "--fields",
          [] {
            std::fputs(field_help(RunConfig{}).c_str(), stdout);
            throw CLI::Success();
          },
          "list every field of a recipe, with its range and default, and end")
      ->trigger_on_parse();
  command->add_flag("-q,--quiet", flags->quiet, "no progress");
  command->callback([flags, &exit_code] { run_train(*flags, exit_code); });
}

}  // namespace ddpm::app
