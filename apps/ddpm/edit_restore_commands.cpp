#include <CLI/CLI.hpp>
#include <functional>

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

void run_restore(const EditFlags& flags, const std::string& kind, const TextChunks& more,
                 const std::function<Known(const EditModel&)>& measure) {
  EditModel model = open_edit_model(flags, /*animates=*/false);
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
    run_restore(*flags, "inpaint", {}, [&](const EditModel& model) {
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
      "Enlarge an image: the result, reduced again by the mean of each square, is the image.");
  struct Flags : EditFlags {
    int64_t factor = 2;
  };
  auto flags = std::make_shared<Flags>();
  add_edit_flags(*command, *flags, "enlarged.png");
  command
      ->add_option("image", flags->source,
                   "PNG or JPEG file; made as small as the model's size over the factor")
      ->required();
  command->add_option("--factor", flags->factor, "how many times as wide and high")
      ->check(CLI::Range(int64_t{2}, int64_t{1024}))
      ->capture_default_str();
  add_count_flag(*command, *flags);
  add_restore_flags(*command, flags->restore);
  command->callback([flags] {
    const TextChunks text{{"ddpm.factor", std::to_string(flags->factor)}};
    run_restore(*flags, "superres", text, [&](const EditModel& model) {
      check_arg(model.size % flags->factor == 0, "[--factor] expected a divisor of the model's ",
                model.size, " pixels, got ", flags->factor);
      const Tensor small =
          load_source(flags->source, model.channels, model.size / flags->factor, flags->fit);
      const LinearOperator op = box_reduction(flags->factor);
      return Known{{op, small}, {{"source", op.pseudo_inverse(small)[0]}}};
    });
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
    run_restore(*flags, "colorize", {}, [&](const EditModel& model) {
      check_arg(model.channels == 3, "[edit] colorize: expected a model of RGB images, got ",
                model.channels, " channel");
      const LinearOperator op = channel_mean(3);
      const Tensor grey = op.apply(load_source(flags->source, 3, model.size, flags->fit));
      return Known{{op, grey}, {{"source", op.pseudo_inverse(grey)[0]}}};
    });
  });
}

}  // namespace ddpm::app
