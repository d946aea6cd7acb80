#include <CLI/CLI.hpp>
#include <cstdio>
#include <set>
#include <string>

#include "ddpm/config/config_docs.h"
#include "ddpm/core/check.h"
#include "ddpm/pipeline/guided_denoiser.h"
#include "ddpm/sampling/image_to_image.h"
#include "ddpm/sampling/interpolate.h"
#include "edit_flags.h"

namespace ddpm::app {
namespace {

struct Img2ImgFlags : EditFlags {
  double strength = 0.5;
};

struct InterpolateFlags : EditFlags {
  std::vector<std::string> images;
  std::vector<uint64_t> seeds;
};

void run_img2img(const Img2ImgFlags& flags) {
  const EditModel model = open_edit_model(flags, /*animates=*/false);
  const Pipeline& pipeline = model.loaded.pipeline;
  const Tensor source = load_source(flags.source, model.channels, model.size, flags.fit);
  const SamplerPlan plan =
      make_sampler_plan(pipeline.schedule, pipeline.folder.diffusion.prediction, model.sampler,
                        last_levels(pipeline.schedule, model.sampler, flags.strength));
  EditOutput output;
  output.images =
      draw_edited(flags, model, static_cast<int64_t>(plan.calls.size()),
                  [&](const Denoiser& denoiser, const SampleRequest& batch) {
                    return image_to_image(denoiser, model.sampler, model.to_device(source),
                                          flags.strength, batch);
                  });
  output.given = {{"source", source[0]}};
  write_edited(flags, model, "img2img", {{"ddpm.strength", c10::str(flags.strength)}}, output);
}

const std::set<std::string> kPathFlags{"kind",   "steps", "spacing",   "drop_last", "steps_offset",
                                       "levels", "rho",   "sigma_min", "sigma_max"};

/// The way to noise and back has a sampler of its own: of the flags it takes those of the levels.
void check_path_flags(const InterpolateFlags& flags, const EditModel& model) {
  check_arg(!flags.model.sampler.contains("kind") || model.sampler.kind == SamplerKind::kDdim,
            "[--sampler] expected ddim, which leads images to noise and back, got ",
            enum_word(model.sampler.kind));
  for (const auto& [key, text] : flags.model.sampler) {
    check_arg(kPathFlags.contains(key), "[", sampler_flag(key), "] interpolate: expected it with ",
              "--seeds alone, DDIM leads images to noise and back without noise or clipping, got ",
              text);
  }
}

Tensor noises_between_images(const InterpolateFlags& flags, const EditModel& model,
                             const Tensor& images) {
  ImageRequest ends = flags.request;
  ends.num_images = 2;
  const ImageRequest two = steered(ends, flags.model, model.loaded);
  const Denoiser encoder = make_denoiser(model.loaded.pipeline, {.class_labels = two.class_labels,
                                                                 .guidance = two.guidance,
                                                                 .guide = two.guide,
                                                                 .classifier = two.classifier});
  return noise_path(encoder, model.sampler, model.to_device(images), flags.request.num_images);
}

Tensor noises_between_seeds(const InterpolateFlags& flags, const EditModel& model) {
  const Pipeline& pipeline = model.loaded.pipeline;
  const auto noise_of = [&](uint64_t seed) {
    return initial_noise(
        {.seed = seed, .image_shape = pipeline.image_shape(), .device = pipeline.device});
  };
  return slerp_path(noise_of(flags.seeds[0]), noise_of(flags.seeds[1]), flags.request.num_images);
}

Tensor decode_path(const InterpolateFlags& flags, const EditModel& model, const Tensor& path) {
  const Pipeline& pipeline = model.loaded.pipeline;
  const SamplerPlan plan =
      make_sampler_plan(pipeline.schedule, pipeline.folder.diffusion.prediction, model.sampler);
  return draw_edited(flags, model, static_cast<int64_t>(plan.calls.size()),
                     [&](const Denoiser& denoiser, const SampleRequest& batch) {
                       const auto first = static_cast<int64_t>(batch.first_image);
                       return decode(denoiser, model.sampler,
                                     path.narrow(/*dim=*/0, first, batch.num_images));
                     });
}

void run_interpolate(const InterpolateFlags& flags) {
  const bool by_seeds = !flags.seeds.empty();
  check_arg(by_seeds != !flags.images.empty() && (by_seeds || flags.images.size() == 2),
            "[edit] interpolate: expected two images, or --seeds A,B, got ", flags.images.size(),
            " images and ", flags.seeds.size(), " seeds");
  EditModel model = open_edit_model(flags, /*animates=*/true);
  EditOutput output;
  TextChunks text;
  // One class for the whole path: each in turn would jump from frame to frame.
  if (flags.model.class_name.empty() && count_classes(model.loaded.class_source()) > 0) {
    throw std::invalid_argument(
        "[--class] interpolate: expected the class of the path, this model has classes");
  }
  if (by_seeds) {
    output.images = decode_path(flags, model, noises_between_seeds(flags, model));
    text.emplace_back("ddpm.seeds", c10::str(flags.seeds[0], ",", flags.seeds[1]));
  } else {
    check_path_flags(flags, model);
    std::vector<Tensor> ends;
    for (const std::string& path : flags.images) {
      ends.push_back(load_source(path, model.channels, model.size, flags.fit));
    }
    model.sampler = path_sampler(model.sampler);
    output.images = decode_path(flags, model, noises_between_images(flags, model, at::cat(ends)));
    output.given = {{"first", ends[0][0]}, {"second", ends[1][0]}};
  }
  for (int64_t i = 0; i < flags.request.num_images; ++i) {
    char weight[16];
    std::snprintf(weight, sizeof weight, "%.2f",
                  static_cast<double>(i) / static_cast<double>(flags.request.num_images - 1));
    output.names.emplace_back(weight);
  }
  write_edited(flags, model, "interpolate", text, output);
}

}  // namespace

void add_img2img_command(CLI::App& edit) {
  auto* command = edit.add_subcommand(
      "img2img", "Noise an image part of the way and draw it again from there [SDEdit].");
  auto flags = std::make_shared<Img2ImgFlags>();
  add_edit_flags(*command, *flags, "redrawn.png");
  command->add_option("image", flags->source, "PNG or JPEG file")->required();
  command
      ->add_option("--strength", flags->strength,
                   "part of the sampler's steps that is taken, above 0; 1: nothing of the image "
                   "is left")
      ->capture_default_str();
  command->add_option("-n,--num-images", flags->request.num_images, "how many different results")
      ->check(CLI::Range(int64_t{1}, int64_t{10'000}))
      ->capture_default_str();
  command->callback([flags] { run_img2img(*flags); });
}

void add_interpolate_command(CLI::App& edit) {
  auto* command = edit.add_subcommand(
      "interpolate",
      "The way between two images (DDIM leads both to noise, a great circle between the noises "
      "back to images), or between the samples of two seeds.");
  auto flags = std::make_shared<InterpolateFlags>();
  flags->request.num_images = 9;
  flags->takes_seed = false;
  add_edit_flags(*command, *flags, "path_strip.png");
  command->add_option("images", flags->images, "two PNG or JPEG files")->expected(0, 2);
  command->add_option("--seeds", flags->seeds, "A,B: from the sample of one seed to another's")
      ->delimiter(',')
      ->expected(2);
  command
      ->add_option("--frames", flags->request.num_images,
                   "images of the path, both ends included; NAME.webp plays it there and back")
      ->check(CLI::Range(int64_t{2}, int64_t{1000}))
      ->capture_default_str();
  command->callback([flags] { run_interpolate(*flags); });
}

}  // namespace ddpm::app
