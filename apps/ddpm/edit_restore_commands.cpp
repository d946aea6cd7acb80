#include <ATen/ATen.h>

#include <CLI/CLI.hpp>
#include <functional>
#include <optional>
#include <utility>

#include "ddpm/core/check.h"
#include "ddpm/sampling/restore.h"
#include "edit_flags.h"

namespace ddpm::app {
namespace {

/// A measurement of the source, and what a strip shows of it.
struct Known {
  LinearMeasurement measurement;
  std::vector<std::pair<std::string, Tensor>> given;
};

TextChunks restore_text(const RestoreOptions& options) {
  TextChunks text{{"ddpm.jump_length", std::to_string(options.jump_length)},
                  {"ddpm.resamples", std::to_string(options.resamples)}};
  if (options.sigma_y > 0) text.emplace_back("ddpm.sigma_y", c10::str(options.sigma_y));
  return text;
}

void run_restore(const EditFlags& flags, EditModel model, const std::string& kind,
                 const TextChunks& more, const std::function<Known(const EditModel&)>& measure) {
  model.sampler = restore_sampler(flags, model);
  Known known = measure(model);
  known.measurement.y = model.to_device(known.measurement.y);
  const Pipeline& pipeline = model.loaded.pipeline;
  const int64_t calls =
      count_restore_calls({pipeline.schedule, pipeline.folder.diffusion.prediction, {}},
                          model.sampler, flags.restore, known.measurement.op.singular_value);
  EditOutput output;
  output.images =
      draw_edited(flags, model, calls, [&](const Denoiser& denoiser, const SampleRequest& batch) {
        return restore(denoiser, model.sampler, known.measurement, flags.restore, batch);
      });
  output.given = known.given;
  TextChunks text = restore_text(flags.restore);
  append(text, more);
  write_edited(flags, model, kind, text, output);
}

void add_count_flag(CLI::App& command, EditFlags& flags) {
  command.add_option("-n,--num-images", flags.request.num_images, "how many different results")
      ->check(CLI::Range(int64_t{1}, int64_t{10'000}))
      ->capture_default_str();
}

/// White where to paint: 1. The mask goes the source's way, so both keep lying on one another.
Tensor load_mask(const std::string& path, const EditModel& model, FitPolicy fit) {
  const Tensor mask = load_source(path, /*channels=*/1, model.size, fit).ge(0).to(at::kFloat);
  check_arg(mask.max().item<double>() > 0, "[edit] ", path,
            ": expected a mask with white, which is painted, got none");
  return mask;
}

struct SuperresFlags : EditFlags {
  std::optional<int64_t> factor;
};

/// By any model: the means of the result's squares are known.
void run_superres_by_means(const SuperresFlags& flags, EditModel opened) {
  const int64_t factor = flags.factor.value_or(2);
  const TextChunks text{{"ddpm.factor", std::to_string(factor)}};
  run_restore(flags, std::move(opened), "superres", text, [&](const EditModel& model) {
    check_arg(model.size % factor == 0, "[--factor] expected a divisor of the model's ", model.size,
              " pixels, got ", factor);
    const Tensor small = load_source(flags.source, model.channels, model.size / factor, flags.fit);
    const LinearOperator op = box_reduction(factor);
    return Known{{op, small}, {{"source", op.pseudo_inverse(small)[0]}}};
  });
}

/// By a model that was trained with what it enlarges as more channels in.
void run_superres_by_network(SuperresFlags flags, const EditModel& model) {
  const Pipeline& pipeline = model.loaded.pipeline;
  const int64_t factor = pipeline.folder.extras.super_resolution;
  check_arg(flags.factor.value_or(factor) == factor, "[--factor] expected what the model was ",
            "trained for, ", factor, ", got ", flags.factor.value_or(factor));
  const Tensor small = load_source(flags.source, model.channels, model.size / factor, flags.fit);
  flags.request.low_resolution = small;
  const SamplerPlan plan =
      make_sampler_plan(pipeline.schedule, pipeline.folder.diffusion.prediction, model.sampler);
  EditOutput output;
  output.images = draw_edited(flags, model, static_cast<int64_t>(plan.calls.size()),
                              [&](const Denoiser& denoiser, const SampleRequest& batch) {
                                return sample(denoiser.schedule, denoiser.prediction,
                                              denoiser.denoise, model.sampler, batch);
                              });
  output.given = {{"source", box_reduction(factor).pseudo_inverse(small)[0]}};
  write_edited(flags, model, "superres", {{"ddpm.factor", std::to_string(factor)}}, output);
}

}  // namespace

void add_inpaint_command(CLI::App& edit) {
  auto* command = edit.add_subcommand(
      "inpaint", "Paint a part of an image anew, so that it fits the rest [RePaint].");
  struct Flags : EditFlags {
    std::string mask;
  };
  auto flags = std::make_shared<Flags>();
  add_edit_flags(*command, *flags, "inpainted.png");
  command->add_option("image", flags->source, "PNG or JPEG file")->required();
  command->add_option("mask", flags->mask, "PNG or JPEG file: white is painted, black is kept")
      ->required();
  add_count_flag(*command, *flags);
  add_restore_flags(*command, flags->restore);
  command->callback([flags] {
    EditModel opened = open_edit_model(*flags, /*animates=*/false);
    run_restore(*flags, std::move(opened), "inpaint", {}, [&](const EditModel& model) {
      const Tensor source = load_source(flags->source, model.channels, model.size, flags->fit);
      const Tensor mask = load_mask(flags->mask, model, flags->fit);
      const Tensor shown = at::where(mask.gt(0), at::ones_like(source), source);
      return Known{kept_part(model.to_device(source), model.to_device(mask)),
                   {{"source", source[0]}, {"kept", shown[0]}}};
    });
  });
}

void add_superres_command(CLI::App& edit) {
  auto* command = edit.add_subcommand(
      "superres",
      "Enlarge an image. A model trained with train.super_resolution is given it; with any other "
      "model the result, reduced again by the mean of each square, is the image.");
  auto flags = std::make_shared<SuperresFlags>();
  add_edit_flags(*command, *flags, "enlarged.png");
  command
      ->add_option("image", flags->source,
                   "PNG or JPEG file; made as small as the model's size over the factor")
      ->required();
  command
      ->add_option("--factor", flags->factor,
                   "how many times as wide and high; default: the model's own, or 2")
      ->check(CLI::Range(int64_t{2}, int64_t{1024}));
  add_count_flag(*command, *flags);
  add_restore_flags(*command, flags->restore);
  command->callback([flags, command] {
    EditModel model = open_edit_model(*flags, /*animates=*/false);
    if (model.loaded.pipeline.folder.extras.super_resolution == 0) {
      return run_superres_by_means(*flags, std::move(model));
    }
    for (const char* flag : {"--jump-length", "--resamples", "--sigma-y"}) {
      check_arg(command->count(flag) == 0, "[", flag, "] expected with a model that was not ",
                "trained to enlarge images, this one was");
    }
    run_superres_by_network(*flags, model);
  });
}

void add_colorize_command(CLI::App& edit) {
  auto* command = edit.add_subcommand(
      "colorize", "Give a grey image colours: the mean of the result's channels is the image.");
  auto flags = std::make_shared<EditFlags>();
  add_edit_flags(*command, *flags, "colorized.png");
  command->add_option("image", flags->source, "PNG or JPEG file; the mean of an RGB one's channels")
      ->required();
  add_count_flag(*command, *flags);
  add_restore_flags(*command, flags->restore);
  command->callback([flags] {
    EditModel opened = open_edit_model(*flags, /*animates=*/false);
    run_restore(*flags, std::move(opened), "colorize", {}, [&](const EditModel& model) {
      check_arg(model.channels == 3, "[edit] colorize: expected a model of RGB images, got ",
                model.channels, " channel");
      const LinearOperator op = channel_mean(3);
      const Tensor grey = op.apply(load_source(flags->source, 3, model.size, flags->fit));
      return Known{{op, grey}, {{"source", op.pseudo_inverse(grey)[0]}}};
    });
  });
}

}  // namespace ddpm::app
