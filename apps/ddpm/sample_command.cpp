#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <memory>

#include "commands.h"
#include "ddpm/core/check.h"
#include "ddpm/core/progress.h"
#include "ddpm/data/picture_text.h"
#include "ddpm/pipeline/pipeline.h"
#include "ddpm/sampling/levels.h"
#include "ddpm/sampling/sampler_plan.h"
#include "model_flags.h"
#include "number_check.h"
#include "sample_output.h"

namespace ddpm::app {
namespace {

constexpr int64_t kMaxScale = 64;
constexpr int64_t kStripMoments = 10;
constexpr int64_t kAnimationFrames = 40;

struct SampleFlags {
  ModelFlags model;
  std::vector<std::string> outputs;
  ImageRequest request;
  int64_t columns = 0;
  int64_t scale = 0;
};

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
  const LoadedModel model = load_model(flags.model);
  const Pipeline& pipeline = model.pipeline;
  const SamplerOptions options =
      with_sampler_flags(default_sampler_options(pipeline), flags.model.sampler);
  const int64_t levels = count_sampler_steps(options, pipeline.schedule.num_timesteps());
  const int64_t steps =  // fewer than levels where a solver's step passes several
      make_sampler_plan(pipeline.schedule, pipeline.folder.diffusion.prediction, options)
          .num_steps();
  flags.request = steered(flags.request, flags.model, model);

  TraceRecorder strip(steps, wants(flags, OutputKind::kStrip) ? kStripMoments : 0);
  TraceRecorder frames(steps, wants(flags, OutputKind::kAnimation) ? kAnimationFrames : 0);
  const int64_t batches =
      (flags.request.num_images + flags.request.batch_size - 1) / flags.request.batch_size;
  Progress progress({.total = steps * batches,
                     .label = "sample",
                     .style = flags.model.quiet ? ProgressStyle::kNone : ProgressStyle::kAuto});
  int64_t done = 0;
  SampleOutput output;
  output.images = sample_images(pipeline, options, flags.request, [&](const SampleTrace& trace) {
    strip.record(trace);
    frames.record(trace);
    progress.update(++done);
  });
  progress.finish();

  const ClassifierGuide& classifier = flags.request.classifier;
  output.class_labels =
      flags.request.class_labels.defined() ? flags.request.class_labels : classifier.class_labels;
  output.strip = strip.moments();
  output.frames = frames.moments();
  output.text = model_text(flags.model, model, options, levels);
  append(output.text, seed_text(flags.request.seed, flags.request.first_image));
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
      "  ddpm sample MODEL --classifier runs/fashion_mnist_classifier --class dress\n"
      "  ddpm sample MODEL -n 50000 --batch 256 -o images.npz  for an evaluation");
  auto flags = std::make_shared<SampleFlags>();
  flags->request.num_images = 64;
  flags->outputs = {"samples.png"};
  add_model_flags(*command, flags->model);
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
  command->add_option("--batch", flags->request.batch_size, "images the network sees at once")
      ->capture_default_str();
  command->add_option("--columns", flags->columns, "of the grid; 0: about square")
      ->check(at_least_zero());
  command->add_option("--scale", flags->scale, "enlarges each pixel; 0: until images can be seen")
      ->check(at_least_zero());
  command->callback([flags] { run_sample(*flags); });
}

}  // namespace ddpm::app
