#include <CLI/CLI.hpp>
#include <cstdio>
#include <filesystem>
#include <memory>

#include "commands.h"
#include "ddpm/config/json_config.h"
#include "ddpm/config/run_config.h"
#include "ddpm/config/toml_config.h"
#include "ddpm/core/check.h"
#include "ddpm/model/network.h"
#include "ddpm/pipeline/pipeline.h"
#include "enum_option.h"
#include "report.h"
#include "run_estimate.h"

namespace ddpm::app {
namespace {

namespace fs = std::filesystem;

struct InfoFlags {
  std::string source;
  std::vector<std::string> overrides;
  bool tensors = false;
  bool json = false;
};

int64_t count_weights(const NamedTensors& weights) {
  int64_t count = 0;
  for (const auto& [name, tensor] : weights) count += tensor.numel();
  return count;
}

nlohmann::ordered_json tensor_table(const NamedTensors& weights) {
  nlohmann::ordered_json table = nlohmann::ordered_json::array();
  for (const auto& [name, tensor] : weights) {
    table.push_back(
        {{"name", name},
         {"shape", tensor.sizes().vec()},
         {"dtype", c10::toString(tensor.scalar_type())},
         {"std", tensor.numel() > 1 ? tensor.to(at::kFloat).std().item<double>() : 0.0}});
  }
  return table;
}

/// What a model's, run's or checkpoint's folder says.
nlohmann::ordered_json describe_model(const InfoFlags& flags) {
  const ModelFolder folder = read_model(flags.source);
  nlohmann::ordered_json about{{"kind", enum_word(folder.model.kind)},
                               {"tensors", folder.weights.size()},
                               {"elements", count_weights(folder.weights)},
                               {"training_step", folder.extras.step},
                               {"data", folder.extras.data_name},
                               {"class_names", folder.extras.class_names},
                               {"hash", folder.model_hash}};
  about["model"] = config_to_json(folder.model)[enum_word(folder.model.kind)];
  about["diffusion"] = config_to_json(folder.diffusion);
  if (flags.tensors) about["table"] = tensor_table(folder.weights);
  return about;
}

void run_info(const InfoFlags& flags) {
  const bool is_recipe = fs::path(flags.source).extension() == ".toml";
  const nlohmann::ordered_json about =
      is_recipe ? describe_run(load_recipe(flags.source, flags.overrides)) : describe_model(flags);
  if (flags.json) {
    std::printf("%s\n", about.dump(2).c_str());
    return;
  }
  print_report(about);
}

}  // namespace

void add_info_command(CLI::App& app) {
  auto* command = app.add_subcommand(
      "info",
      "Say what a model folder, run, checkpoint or recipe holds.\n\nExamples:\n"
      "  ddpm info runs/fashion_mnist               network, schedule, step, hash\n"
      "  ddpm info MODEL --tensors                  every tensor with shape, dtype and spread\n"
      "  ddpm info recipes/cifar10_ddpm.toml        parameters, memory and time of a run");
  auto flags = std::make_shared<InfoFlags>();
  command->add_option("source", flags->source, "model folder, run folder, checkpoint or recipe")
      ->required();
  command->add_option("--set", flags->overrides, "a recipe's field, as in train.batch_size=64");
  command->add_flag("--tensors", flags->tensors, "list every tensor");
  command->add_flag("--json", flags->json, "one JSON object");
  command->callback([flags] { run_info(*flags); });
}

}  // namespace ddpm::app
