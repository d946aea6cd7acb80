#include <CLI/CLI.hpp>
#include <cstdio>
#include <filesystem>
#include <map>
#include <memory>

#include "commands.h"
#include "ddpm/checkpoint/improved_diffusion.h"
#include "ddpm/config/json_config.h"
#include "ddpm/config/run_config.h"
#include "ddpm/config/toml_config.h"
#include "ddpm/core/check.h"
#include "ddpm/model/network.h"
#include "ddpm/pipeline/model_files.h"
#include "ddpm/pipeline/pipeline.h"
#include "enum_option.h"
#include "report.h"
#include "run_estimate.h"

namespace ddpm::app {
namespace {

namespace fs = std::filesystem;

struct InfoFlags {
  std::string source;
  std::string key;
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
         {"elements", tensor.numel()},
         {"std", tensor.numel() > 1 ? tensor.to(at::kFloat).std().item<double>() : 0.0}});
  }
  return table;
}

/// How many tensors and elements there are, of which types.
nlohmann::ordered_json totals(const NamedTensors& weights) {
  std::map<std::string, int64_t> elements;
  uint64_t size_bytes = 0;
  for (const auto& [name, tensor] : weights) {
    elements[c10::toString(tensor.scalar_type())] += tensor.numel();
    size_bytes += tensor.nbytes();
  }
  return {{"tensors", weights.size()},
          {"elements", count_weights(weights)},
          {"bytes", size_bytes},
          {"elements_of_type", elements}};
}

/// The network that tensors are of, as far as their names tell.
std::string network_of(const NamedTensors& weights) {
  if (is_improved_diffusion(weights)) return "unet2d (improved-diffusion's names)";
  const auto talk = talk_network_of(weights);
  return talk ? enum_word(talk->kind) : "not said by the tensors' names";
}

/// What a file of weights says, which knows nothing of its network but names and shapes.
nlohmann::ordered_json describe_weights(const InfoFlags& flags) {
  const NamedTensors weights = read_weights_file(flags.source, flags.key);
  nlohmann::ordered_json about{{"kind", network_of(weights)}};
  about.update(totals(weights));
  if (const auto talk = talk_network_of(weights)) {
    about["model"] = config_to_json(*talk)[enum_word(talk->kind)];
  }
  if (flags.tensors) about["table"] = tensor_table(weights);
  return about;
}

/// What a model's, run's or checkpoint's folder says.
nlohmann::ordered_json describe_model(const InfoFlags& flags) {
  const ModelFolder folder = read_model(flags.source);
  nlohmann::ordered_json about{{"kind", enum_word(folder.model.kind)}};
  about.update(totals(folder.weights));
  about["training_step"] = folder.extras.step;
  about["data"] = folder.extras.data_name;
  about["class_names"] = folder.extras.class_names;
  about["hash"] = folder.model_hash;
  about["model"] = config_to_json(folder.model)[enum_word(folder.model.kind)];
  about["diffusion"] = config_to_json(folder.diffusion);
  about["scheduler"] = enum_word(folder.scheduler.scheduler);
  if (!folder.unused_scheduler_keys.empty()) {
    about["scheduler_keys_left_out"] = folder.unused_scheduler_keys;
  }
  if (flags.tensors) about["table"] = tensor_table(folder.weights);
  return about;
}

nlohmann::ordered_json describe(const InfoFlags& flags) {
  if (fs::path(flags.source).extension() == ".toml") {
    return describe_run(load_recipe(flags.source, flags.overrides));
  }
  if (is_weights_file(flags.source)) return describe_weights(flags);
  check_arg(flags.key.empty(), "[info] --key: expected it for a .pth file alone, got one for ",
            flags.source);
  return describe_model(flags);
}

void run_info(const InfoFlags& flags) {
  const bool is_recipe = fs::path(flags.source).extension() == ".toml";
  check_arg(is_recipe || flags.overrides.empty(), "[--set] expected with a recipe only, got ",
            flags.source);
  check_arg(!is_recipe || !flags.tensors, "[--tensors] expected with a model only, got ",
            flags.source);
  const nlohmann::ordered_json about = describe(flags);
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
      "Say what a model folder, run, checkpoint, file of weights or recipe holds.\n\nExamples:\n"
      "  ddpm info runs/fashion_mnist               network, schedule, step, hash\n"
      "  ddpm info MODEL --tensors                  every tensor: shape, dtype, elements, spread\n"
      "  ddpm info simple_unet.pth                  a pickle, of which nothing is run\n"
      "  ddpm info recipes/cifar10_ddpm.toml        parameters, memory and time of a run");
  auto flags = std::make_shared<InfoFlags>();
  command
      ->add_option(
          "source", flags->source,
          "model folder, run, checkpoint, recipe, .safetensors or PyTorch file (.pth, .pt, .bin)")
      ->required();
  command->add_option("--set", flags->overrides, "a recipe's field, as in train.batch_size=64");
  command->add_option("--key", flags->key, "which state dict of a .pth file that holds several");
  command->add_flag("--tensors", flags->tensors, "list every tensor");
  command->add_flag("--json", flags->json, "one JSON object");
  command->callback([flags] { run_info(*flags); });
}

}  // namespace ddpm::app
