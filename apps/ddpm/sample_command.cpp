#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <memory>

#include "commands.h"
#include "ddpm/core/check.h"
#include "ddpm/core/device.h"
#include "ddpm/core/log.h"
#include "ddpm/core/progress.h"
#include "ddpm/pipeline/pipeline.h"
#include "ddpm/sampling/levels.h"
#include "ddpm/sampling/sampler_plan.h"
#include "enum_option.h"
#include "number_check.h"
#include "sample_output.h"
#include "sampler_flags.h"

namespace ddpm::app {
namespace {

constexpr int64_t kMaxScale = 64;
constexpr int64_t kStripMoments = 10;
constexpr int64_t kAnimationFrames = 40;

/// What the command line says; an option that was not given keeps the model's own value.
struct SampleFlags {
  std::string model;
  std::vector<std::string> outputs;
  PipelineOptions pipeline;
  ImageRequest request;
  SamplerFlags sampler;
  std::string class_name;
  int64_t threads = 0;
  int64_t columns = 0;
  int64_t scale = 0;
  bool quiet = false;
};

int64_t class_index(const ModelFolder& folder, const std::string& name) {
  check_arg(folder.model.unet2d.num_class_embeds > 0, "[--class] '", name,
            "': expected none, this model was trained without class labels");
  const auto& names = folder.extras.class_names;
  const auto found = std::find(names.begin(), names.end(), name);
  if (found != names.end()) return found - names.begin();
  const bool is_number = !name.empty() && name.find_first_not_of("0123456789") == std::string::npos;
  std::string known;
  for (const auto& each : names) known += (known.empty() ? "" : ", ") + each;
  check_arg(is_number && name.size() < 10, "[--class] '", name, "': expected ",
            known.empty() ? "a class number, this model names none" : "one of " + known);
  return std::stoll(name);
}

/// One class for all images; without --class, a model with classes draws them in turn.
Tensor class_labels(const SampleFlags& flags, const ModelFolder& folder) {
  const int64_t count = flags.request.num_images;
  if (!flags.class_name.empty()) {
    return at::full({count}, class_index(folder, flags.class_name), at::kLong);
  }
  int64_t classes =
      folder.model.kind == ModelKind::kUNet2D ? folder.model.unet2d.num_class_embeds : 0;
  if (folder.extras.null_class >= 0) classes = folder.extras.null_class;
  if (classes == 0) return {};
  return (at::arange(count, at::kLong) + static_cast<int64_t>(flags.request.first_image)) % classes;
}

TextChunks png_text(const SampleFlags& flags, const SamplerOptions& options, int64_t levels,
                    const ModelFolder& folder) {
  TextChunks text{{"Software", "ddpm.cpp"},
                  {"ddpm.model", short_model_hash(folder.model_hash)},
                  {"ddpm.seed", std::to_string(flags.request.seed)},
                  {"ddpm.first_image", std::to_string(flags.request.first_image)},
                  {"ddpm.steps", std::to_string(levels)}};
  const TextChunks sampler = sampler_text(options);
  text.insert(text.end(), sampler.begin(), sampler.end());
  if (!flags.class_name.empty()) text.emplace_back("ddpm.class", flags.class_name);
  return text;
}

void check_flags(const SampleFlags& flags) {
  check_arg(flags.request.num_images > 0 && flags.request.num_images <= 10'000'000,
            "[-n] expected 1 to 10000000 images, got ", flags.request.num_images);
  check_arg(flags.request.batch_size > 0, "[--batch] expected 1 or more, got ",
            flags.request.batch_size);
  check_arg(flags.scale <= kMaxScale, "[--scale] expected at most ", kMaxScale, ", got ",
            flags.scale);
  for (const std::string& path : flags.outputs) check_output(path);
}

bool wants(const SampleFlags& flags, OutputKind kind) {
  return std::any_of(flags.outputs.begin(), flags.outputs.end(),
                     [&](const std::string& path) { return output_kind(path) == kind; });
}

void run_sample(SampleFlags flags) {
  check_flags(flags);
  configure_cpu(flags.threads);
  configure_gpu();
  const Pipeline pipeline = load_pipeline(flags.model, flags.pipeline);
  if (!pipeline.folder.scheduler_found) {
    log_warn("[" + flags.model +
             "] no scheduler file beside the network: taking the linear schedule "
             "with T = 1000 and epsilon prediction");
  }
  const SamplerOptions options =
      with_sampler_flags(default_sampler_options(pipeline), flags.sampler);
  const int64_t levels = count_sampler_steps(options, pipeline.schedule.num_timesteps());
  const int64_t steps =  // fewer than levels where a solver's step passes several
      make_sampler_plan(pipeline.schedule, pipeline.folder.diffusion.prediction, options)
          .num_steps();
  flags.request.class_labels = class_labels(flags, pipeline.folder);

  TraceRecorder strip(steps, wants(flags, OutputKind::kStrip) ? kStripMoments : 0);
  TraceRecorder frames(steps, wants(flags, OutputKind::kAnimation) ? kAnimationFrames : 0);
  const int64_t batches =
      (flags.request.num_images + flags.request.batch_size - 1) / flags.request.batch_size;
  Progress progress({.total = steps * batches,
                     .label = "sample",
                     .style = flags.quiet ? ProgressStyle::kNone : ProgressStyle::kAuto});
  int64_t done = 0;
  SampleOutput output;
  output.images = sample_images(pipeline, options, flags.request, [&](const SampleTrace& trace) {
    strip.record(trace);
    frames.record(trace);
    progress.update(++done);
  });
  progress.finish();

  output.class_labels = flags.request.class_labels;
  output.strip = strip.moments();
  output.frames = frames.moments();
  output.text = png_text(flags, options, levels, pipeline.folder);
  output.first_image = flags.request.first_image;
  output.columns = flags.columns;
  output.scale = flags.scale;
  for (const std::string& path : flags.outputs) {
    write_sample_output(path, output);
    std::printf("wrote %s\n", path.c_str());
  }
}

}  // namespace

void add_sample_command(CLI::App& app) {
  auto* command = app.add_subcommand(
      "sample",
      "Draw images from a trained model: a run folder, a checkpoint or a model folder (ours or "
      "diffusers').\n\nExamples:\n"
      "  ddpm sample runs/fashion_mnist                        64 images, DDIM, to samples.png\n"
      "  ddpm sample runs/fashion_mnist --sampler ddpm -o a.png   every step, as in the paper\n"
      "  ddpm sample MODEL -n 4 -o strip.png                   x_t, predicted noise and x_0 in "
      "time\n"
      "  ddpm sample MODEL -n 16 -o grid.png -o anim.webp      a picture and its animation\n"
      "  ddpm sample MODEL -n 50000 --batch 256 -o images.npz  for an evaluation");
  auto flags = std::make_shared<SampleFlags>();
  flags->request.num_images = 64;
  flags->outputs = {"samples.png"};
  command->add_option("model", flags->model, "run folder, checkpoint or model folder")->required();
  command->add_option("-n,--num-images", flags->request.num_images, "how many")
      ->capture_default_str();
  command
      ->add_option("-o,--output", flags->outputs,
                   "NAME.png (grid; a name with 'strip': the first 4 images in 10 moments), "
                   "NAME.webp (animation), NAME.npz, or a new folder; may be repeated")
      ->capture_default_str();
  command->add_option("--seed", flags->request.seed, "image i of a seed is the same in any batch")
      ->check(at_least_zero())
      ->capture_default_str();
  command
      ->add_option("--first-image", flags->request.first_image, "number of the seed's first image")
      ->check(at_least_zero())
      ->capture_default_str();
  command->add_option("--class", flags->class_name, "class name or number; default: each in turn");
  command->add_option("--batch", flags->request.batch_size, "images the network sees at once")
      ->capture_default_str();
  command->add_option("--columns", flags->columns, "of the grid; 0: about square")
      ->check(at_least_zero());
  command->add_option("--scale", flags->scale, "enlarges each pixel; 0: until images can be seen")
      ->check(at_least_zero());
  command->add_option("--device", flags->pipeline.device, "auto, cpu, cuda or cuda:N")
      ->capture_default_str();
  add_enum_option(*command, "--precision", flags->pipeline.precision,
                  "of the network; default fp32");
  command->add_option("--threads", flags->threads, "CPU threads; 0: one a core");
  command->add_flag("--raw-weights", flags->pipeline.raw_weights,
                    "the weights instead of their EMA");
  command->add_flag("-q,--quiet", flags->quiet, "no progress");
  add_sampler_flags(*command, flags->sampler);
  command->callback([flags] { run_sample(*flags); });
}

}  // namespace ddpm::app
