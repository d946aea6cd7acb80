#include "edit_flags.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <filesystem>

#include "ddpm/core/check.h"
#include "ddpm/core/progress.h"
#include "ddpm/data/fit.h"
#include "ddpm/data/image_tensor.h"
#include "ddpm/data/picture_text.h"
#include "ddpm/sampling/levels.h"
#include "enum_option.h"
#include "field_flags.h"
#include "number_check.h"

namespace ddpm::app {
namespace {

constexpr int64_t kRestoreSteps = 100;
constexpr int64_t kMostImages = 10'000;
constexpr int64_t kMostScale = 64;

}  // namespace

void add_edit_flags(CLI::App& command, EditFlags& flags, const std::string& default_output) {
  flags.outputs = {default_output};
  add_model_flags(command, flags.model);
  command
      .add_option("-o,--output", flags.outputs,
                  "NAME.png (a name with 'strip' shows the source too), NAME.npz or a new folder; "
                  "may be repeated")
      ->capture_default_str();
  if (flags.takes_seed) {
    command.add_option("--seed", flags.request.seed, "image i of a seed is the same in any batch")
        ->check(at_least_zero())
        ->capture_default_str();
  }
  command.add_option("--batch", flags.request.batch_size, "images the network sees at once")
      ->check(CLI::Range(int64_t{1}, kMostImages))
      ->capture_default_str();
  add_enum_option(command, "--fit", flags.fit, "how a source that is not square becomes so");
  command
      .add_option("--scale", flags.scale,
                  "enlarges each pixel; 0: not at all, in a strip until it can be seen")
      ->check(CLI::Range(int64_t{0}, kMostScale));
}

void add_restore_flags(CLI::App& command, RestoreOptions& options) {
  add_field_flags(command, list_fields(options), "Restoring", [](std::string key) {
    std::replace(key.begin(), key.end(), '_', '-');
    return "--" + key;
  });
}

Tensor load_source(const std::string& path, int64_t channels, int64_t size, FitPolicy fit) {
  check_arg(std::filesystem::is_regular_file(path), "[edit] ", path,
            ": expected a PNG or JPEG file, got ",
            std::filesystem::exists(path) ? "something else" : "nothing there");
  const DataConfig defaults;
  const Image image = read_image(path, defaults.max_pixels);
  const Image square = fit_square(image, size, fit, ResizeFilter::kAuto);
  return image_to_tensor(convert_channels(square, channels)).unsqueeze(0);
}

EditModel open_edit_model(const EditFlags& flags, bool animates) {
  for (const std::string& path : flags.outputs) check_edit_output(path, animates);
  EditModel model{load_model(flags.model), {}, 0, 0};
  const Pipeline& pipeline = model.loaded.pipeline;
  model.sampler = with_sampler_flags(default_sampler_options(pipeline), flags.model.sampler);
  const std::vector<int64_t> shape = pipeline.image_shape();
  model.channels = shape.at(0);
  model.size = shape.at(1);
  return model;
}

SamplerOptions restore_sampler(const EditFlags& flags, const EditModel& model) {
  SamplerFlags given = flags.model.sampler;
  given.try_emplace("kind", enum_word(SamplerKind::kDdpm));
  const Pipeline& pipeline = model.loaded.pipeline;
  SamplerOptions options = with_sampler_flags(default_sampler_options(pipeline), given);
  if (!given.contains("steps")) {
    options.steps = std::min(kRestoreSteps, pipeline.schedule.num_timesteps());
  }
  return options;
}

Tensor draw_edited(const EditFlags& flags, const EditModel& model, int64_t calls,
                   const DrawFn& draw) {
  const ImageRequest request = steered(flags.request, flags.model, model.loaded);
  const int64_t batches = (request.num_images + request.batch_size - 1) / request.batch_size;
  Progress progress({.total = calls * batches,
                     .label = "edit",
                     .style = flags.model.quiet ? ProgressStyle::kNone : ProgressStyle::kAuto});
  int64_t done = 0;
  const auto counted = [&](const Denoiser& denoiser, const SampleRequest& batch) {
    Denoiser shown = denoiser;
    shown.denoise = [&, denoise = denoiser.denoise](const Tensor& x, const Tensor& t) {
      Tensor output = denoise(x, t);
      progress.update(++done);
      return output;
    };
    return draw(shown, batch);
  };
  Tensor images = draw_images(model.loaded.pipeline, request, counted);
  progress.finish();
  return images;
}

void write_edited(const EditFlags& flags, const EditModel& model, const std::string& kind,
                  const TextChunks& more, EditOutput output) {
  const int64_t steps =
      count_sampler_steps(model.sampler, model.loaded.pipeline.schedule.num_timesteps());
  output.text = model_text(flags.model, model.loaded, model.sampler, steps);
  if (flags.takes_seed)
    append(output.text, seed_text(flags.request.seed, flags.request.first_image));
  output.text.emplace_back("ddpm.edit", kind);
  append(output.text, more);
  output.scale = flags.scale;
  for (const std::string& path : flags.outputs) {
    write_edit_output(path, output);
    std::printf("wrote %s\n", path.c_str());
  }
}

}  // namespace ddpm::app
