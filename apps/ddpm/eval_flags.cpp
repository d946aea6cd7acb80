#include "eval_flags.h"

#include <CLI/CLI.hpp>
#include <cstdio>

#include "ddpm/core/check.h"
#include "ddpm/core/device.h"
#include "number_check.h"

namespace ddpm::app {

void add_eval_flags(CLI::App& command, EvalFlags& flags) {
  command.add_option("--set", flags.overrides,
                     "a field of the data, as in data.held_out_fraction=0.1 (docs/config.md)");
  command
      .add_option("-n,--images", flags.max_images,
                  "a random choice of so many, always the same; 0: all")
      ->check(at_least_zero());
  command.add_option("--batch", flags.batch_size, "images the network sees at once")
      ->capture_default_str();
  command.add_option("--device", flags.device, "auto, cpu, cuda or cuda:N")->capture_default_str();
  command.add_option("--threads", flags.threads, "CPU threads; 0: one a core");
  command.add_flag("--json", flags.json, "one JSON object, and no progress");
  command.add_flag("-q,--quiet", flags.quiet, "no progress");
}

void prepare_evaluation(const EvalFlags& flags) {
  check_arg(flags.batch_size > 0, "[--batch] expected 1 or more, got ", flags.batch_size);
  configure_cpu(flags.threads);
  configure_gpu();
}

ProgressStyle eval_progress_style(const EvalFlags& flags) {
  return flags.quiet || flags.json ? ProgressStyle::kNone : ProgressStyle::kAuto;
}

nlohmann::ordered_json model_json(const std::string& path, const ModelFolder& folder) {
  return {
      {"path", path}, {"hash", short_model_hash(folder.model_hash)}, {"step", folder.extras.step}};
}

void print_measured_images(const nlohmann::ordered_json& report) {
  const auto& data = report["data"];
  std::printf("  on %lld images of %s (%s), %lld timesteps each, seed %llu\n",
              data["images"].get<long long>(), data["read"].get<std::string>().c_str(),
              data["split"].get<std::string>().c_str(), report["draws"].get<long long>(),
              report["seed"].get<unsigned long long>());
  std::printf("  %s\n", data["preprocessing"].get<std::string>().c_str());
}

}  // namespace ddpm::app
