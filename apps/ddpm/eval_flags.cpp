#include "eval_flags.h"

#include <ATen/Context.h>

#include <CLI/CLI.hpp>
#include <cstdio>

#include "ddpm/core/check.h"
#include "ddpm/core/device.h"
#include "image_source.h"
#include "number_check.h"

namespace ddpm::app {

void add_eval_flags(CLI::App& command, EvalFlags& flags) {
  command.add_option(
      "--set", flags.overrides,
      "a field of how data is read, as in data.held_out_fraction=0.1 (docs/config.md)");
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
  check_data_overrides(flags.overrides);
  configure_cpu(flags.threads);
  configure_gpu();
  at::globalContext().setAllowTF32CuDNN(false);  // convolutions too are to be fp32
}

ProgressStyle eval_progress_style(const EvalFlags& flags) {
  return flags.quiet || flags.json ? ProgressStyle::kNone : ProgressStyle::kAuto;
}

nlohmann::ordered_json model_json(const std::string& path, const ModelFolder& folder) {
  return {
      {"path", path}, {"hash", short_model_hash(folder.model_hash)}, {"step", folder.extras.step}};
}

nlohmann::ordered_json settings_json(const EvalFlags& flags, at::Device device) {
  return {{"device", device.str()}, {"set", flags.overrides}};
}

void print_settings(const nlohmann::ordered_json& report) {
  std::string text = "on " + report["device"].get<std::string>();
  for (const auto& override_text : report["set"]) {
    text += ", --set " + override_text.get<std::string>();
  }
  std::printf("  %s\n", text.c_str());
}

void print_measured_images(const nlohmann::ordered_json& report) {
  const auto& data = report["data"];
  std::printf("  on %lld images of %s (%s), %lld timesteps each, seed %llu\n",
              data["images"].get<long long>(), data["read"].get<std::string>().c_str(),
              data["split"].get<std::string>().c_str(), report["draws"].get<long long>(),
              report["seed"].get<unsigned long long>());
  std::printf("  %s\n", data["preprocessing"].get<std::string>().c_str());
  print_settings(report);
}

}  // namespace ddpm::app
