#include <CLI/CLI.hpp>
#include <cstdio>
#include <memory>
#include <optional>
#include <string>

#include "commands.h"
#include "ddpm/checkpoint/safetensors.h"
#include "ddpm/core/check.h"
#include "ddpm/pipeline/convert_model.h"
#include "ddpm/pipeline/model_files.h"
#include "enum_option.h"

namespace ddpm::app {
namespace {

namespace fs = std::filesystem;

struct ConvertFlags {
  std::string source;
  std::string target;
  ImportOptions import_options;
  std::optional<SamplerKind> scheduler;  ///< none: the model's own
  bool overwrite = false;
};

/// Weights to weights: the tensors stay as they are, whatever the network.
bool is_plain_copy(const ConvertFlags& flags) {
  return is_safetensors_target(flags.target) && is_weights_file(flags.source) &&
         is_plain(flags.import_options);
}

void run_convert(const ConvertFlags& flags) {
  check_arg(!is_safetensors_target(flags.target) || !flags.scheduler,  // before anything is read
            "[--scheduler] expected with a model folder, got '", flags.target,
            "', which holds weights alone");
  ImportedModel imported;
  if (is_plain_copy(flags)) {
    imported.folder.weights = read_weights_file(flags.source, flags.import_options.key);
  } else {
    imported = import_model(flags.source, flags.import_options);
    if (flags.scheduler) use_scheduler(imported, *flags.scheduler);
  }
  for (const std::string& note : imported.notes) {
    std::printf("%s: %s\n", flags.source.c_str(), note.c_str());
  }
  const std::string hash = export_model(flags.target, imported.folder, flags.overwrite);
  std::printf("wrote %s: %zu tensors, hash %s\n", flags.target.c_str(),
              imported.folder.weights.size(), short_model_hash(hash).c_str());
}

void add_weights_options(CLI::App& command, ImportOptions& options) {
  command.add_option("--config", options.config,
                     "weights alone: the network's config.json, or a recipe (.toml)");
  command.add_option("--scheduler-config", options.scheduler,
                     "weights alone: the diffusion's scheduler_config.json");
  command.add_option("--set", options.overrides,
                     "weights alone: one field of the diffusion, as in "
                     "diffusion.num_timesteps=300 (docs/config.md)");
  command
      .add_option("--image-size", options.image_size,
                  "weights alone: side of the images; the talk's networks: 64")
      ->check(CLI::Range(1, 16384));
  command.add_option("--key", options.key, "which state dict of a .pth file that holds several");
  ImprovedDiffusionOptions& improved = options.improved_diffusion;
  command
      .add_option("--num-heads", improved.num_heads,
                  "improved-diffusion's weights: heads of every attention")
      ->check(CLI::Range(1, 1024));
  command
      .add_option("--head-channels", improved.head_channels,
                  "improved-diffusion's weights: channels of a head, instead of their number")
      ->check(CLI::Range(1, 65536));
  command.add_flag("--new-attention-order", improved.new_attention_order,
                   "improved-diffusion's weights: trained with use_new_attention_order");
  command
      .add_option("--timestep-scale", improved.timestep_scale,
                  "improved-diffusion's weights: 1000 / T if trained with rescale_timesteps")
      ->check(CLI::PositiveNumber);
}

}  // namespace

void add_convert_command(CLI::App& app) {
  auto* command = app.add_subcommand(
      "convert",
      "Turn a model into a model folder (diffusers' layout), or its weights into a .safetensors "
      "file. Pickles (.pth, .pt) are read without running anything in them.\n\nExamples:\n"
      "  ddpm convert simple_unet.pth talk_model               the talk's network, T = 300\n"
      "  ddpm convert simple_unet.pth talk_model --set diffusion.num_timesteps=1000\n"
      "  ddpm convert runs/fashion_mnist fashion_mnist         a run's averaged weights\n"
      "  ddpm convert runs/cifar10 fast --scheduler dpmpp_2m   for 20 steps of DPM-Solver++, in "
      "diffusers too\n"
      "  ddpm convert weights.safetensors model --config unet/config.json --scheduler-config "
      "scheduler/scheduler_config.json\n"
      "  ddpm convert cifar10.pt model --num-heads 4 --image-size 32 --set "
      "diffusion.schedule=cosine --set diffusion.num_timesteps=4000\n"
      "  ddpm convert anything.pth weights.safetensors         the tensors as they are");
  auto flags = std::make_shared<ConvertFlags>();
  command
      ->add_option("source", flags->source,
                   "model folder, run, checkpoint, .safetensors or PyTorch file (.pth, .pt, .bin)")
      ->required();
  command->add_option("target", flags->target, "model folder, or NAME.safetensors")->required();
  add_weights_options(*command, flags->import_options);
  command->add_flag("--raw-weights", flags->import_options.raw_weights,
                    "a run's weights instead of their EMA");
  command->add_flag("--overwrite", flags->overwrite, "replace what is there");
  auto kind = std::make_shared<SamplerKind>();
  const CLI::Option* scheduler = add_enum_option(
      *command, "--scheduler", *kind, "write the scheduler of diffusers that samples so");
  command->callback([flags, kind, scheduler] {
    if (scheduler->count() > 0) flags->scheduler = *kind;
    run_convert(*flags);
  });
}

}  // namespace ddpm::app
