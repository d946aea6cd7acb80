#include "ddpm/pipeline/pipeline.h"

#include <algorithm>

#include "ddpm/checkpoint/checkpoint_folder.h"
#include "ddpm/checkpoint/scheduler_sampler.h"
#include "ddpm/config/json_config.h"
#include "ddpm/config/run_config.h"
#include "ddpm/core/check.h"
#include "ddpm/core/device.h"
#include "ddpm/model/layers.h"
#include "ddpm/model/network.h"
#include "ddpm/model/state_dict.h"
#include "ddpm/pipeline/guided_denoiser.h"
#include "ddpm/pipeline/network_denoise_fn.h"
#include "ddpm/pipeline/precision.h"

namespace ddpm {
namespace {

namespace fs = std::filesystem;

ModelFolder model_of_checkpoint(const fs::path& folder, CheckpointContents contents,
                                bool raw_weights) {
  const std::string where = (folder / "recipe").string();
  const RunConfig recipe = config_from_json<RunConfig>(contents.recipe, where);
  ModelFolder model = model_of_recipe(recipe);
  model.recipe = recipe;
  model.weights = std::move(raw_weights ? contents.weights : contents.ema);
  model.model_hash = raw_weights ? contents.weights_hash : contents.ema_hash;
  model.extras.class_names = contents.state.value("class_names", std::vector<std::string>());
  model.extras.data_name = contents.state.value("data_name", std::string());
  model.extras.image_size = contents.state.value("image_size", int64_t{0});
  model.extras.step = contents.state.value("step", int64_t{0});
  return model;
}

/// Channels of the network's input.
int64_t num_channels(const ModelConfig& config) {
  switch (config.kind) {
    case ModelKind::kUNet2D:
      return config.unet2d.in_channels;
    case ModelKind::kSimpleUnet:
      return config.simple_unet.image_channels;
    case ModelKind::kClassifier:
      return config.classifier.in_channels;
  }
  throw std::logic_error("[num_channels] not a ModelKind");
}

void check_label_count(const Tensor& labels, int64_t num_images) {
  check_arg(!labels.defined() || (labels.dim() == 1 && labels.size(0) == num_images),
            "[draw_images] class_labels: expected one for each of ", num_images,
            " images, got shape ", labels.defined() ? labels.sizes() : at::IntArrayRef());
}

/// The rows of one batch; undefined ones stay so.
Tensor of_batch(const Tensor& rows, int64_t first, int64_t count) {
  return rows.defined() ? rows.narrow(/*dim=*/0, first, count) : rows;
}

/// Without images to enlarge.
NetworkView view_of(const Pipeline& pipeline) {
  return {.schedule = pipeline.schedule,
          .prediction = pipeline.folder.diffusion.prediction,
          .self_conditioning = pipeline.folder.extras.self_conditioning,
          .super_resolution = pipeline.folder.extras.super_resolution};
}

at::ScalarType dtype_of(const Pipeline& pipeline) {
  return pipeline.network->parameters().front().scalar_type();
}

/// The images to enlarge, on the network's device.
Tensor checked_low_resolution(const Pipeline& pipeline, const Tensor& low_resolution) {
  const int64_t factor = pipeline.folder.extras.super_resolution;
  if (factor == 0) {
    check_arg(!low_resolution.defined(), "[make_denoise_fn] low_resolution: expected none, this ",
              "model was not trained to enlarge images");
    return {};
  }
  check_arg(low_resolution.defined(), "[make_denoise_fn] this model enlarges images ", factor,
            " times: expected an image to enlarge (ddpm edit superres), got none");
  const std::vector<int64_t> shape = pipeline.image_shape();
  const std::vector<int64_t> expected{shape[0], shape[1] / factor, shape[2] / factor};
  check_arg(
      low_resolution.dim() == 4 && low_resolution.sizes().slice(1) == at::IntArrayRef(expected),
      "[make_denoise_fn] low_resolution: expected images ", at::IntArrayRef(expected), ", got ",
      low_resolution.sizes());
  return low_resolution.to(pipeline.device);
}

}  // namespace

void check_draws_images(const ModelFolder& folder) {
  check_arg(folder.model.kind != ModelKind::kClassifier,
            "[check_draws_images] expected a model that draws images, got a classifier");
}

void check_classifies_images(const ModelFolder& folder) {
  check_arg(folder.model.kind == ModelKind::kClassifier,
            "[check_classifies_images] expected a classifier of noisy images, got a model of kind ",
            enum_word(folder.model.kind));
}

std::vector<int64_t> Pipeline::image_shape() const {
  const int64_t size = folder.model.kind == ModelKind::kUNet2D && folder.extras.image_size == 0
                           ? folder.model.unet2d.sample_size
                           : folder.extras.image_size;
  check_arg(size > 0, "[image_shape] the model's files do not say the size of its images");
  const ModelExtras& extras = folder.extras;
  const int64_t seen = 1 + int64_t{extras.self_conditioning} + int64_t{extras.super_resolution > 0};
  return {num_channels(folder.model) / seen, size, size};
}

ModelFolder read_model(const fs::path& path, bool raw_weights) {
  check_arg(fs::is_directory(path), "[", path.string(),
            "] expected a model folder, a run folder or a checkpoint, got ",
            fs::exists(path) ? "a file" : "nothing there");
  if (fs::exists(path / "manifest.json"))
    return model_of_checkpoint(path, read_checkpoint(path), raw_weights);
  if (fs::is_directory(path / "checkpoints")) {
    auto found = find_checkpoint(path);
    check_arg(found.has_value(), "[", path.string(), "] the run has no checkpoint yet");
    return model_of_checkpoint(found->entry.folder, std::move(found->contents), raw_weights);
  }
  check_arg(!raw_weights, "[", path.string(),
            "] raw weights: expected a run or a checkpoint, got a model folder");
  return read_model_folder(path);
}

Pipeline load_pipeline(const fs::path& path, const PipelineOptions& options) {
  Pipeline pipeline;
  pipeline.device = select_device(options.device);
  pipeline.folder = read_model(path, options.raw_weights);
  pipeline.network = make_network(pipeline.folder.model);
  load_state_dict(*pipeline.network, pipeline.folder.weights, path.string());
  pipeline.folder.weights.clear();
  pipeline.network->to(pipeline.device,
                       dtype_of(resolve_precision(options.precision, pipeline.device)));
  pipeline.network->eval();
  prepare_for_sampling(*pipeline.network);
  pipeline.network->prepare_timesteps(pipeline.folder.diffusion.num_timesteps);
  pipeline.schedule = make_noise_schedule(pipeline.folder.diffusion).to(pipeline.device);
  pipeline.answers = network_answer_fn(pipeline.network, view_of(pipeline), dtype_of(pipeline));
  return pipeline;
}

SamplerOptions default_sampler_options(const Pipeline& pipeline) {
  return sampler_of_scheduler(pipeline.folder.scheduler);
}

DenoiseFn make_denoise_fn(const Pipeline& pipeline, const Tensor& class_labels,
                          const Tensor& low_resolution) {
  check_draws_images(pipeline.folder);
  const Tensor labels = class_labels.defined() ? class_labels.to(pipeline.device) : Tensor();
  NetworkView view = view_of(pipeline);
  view.low_resolution = checked_low_resolution(pipeline, low_resolution);
  return pipeline.answers ? network_denoise_fn(pipeline.answers, view, labels)
                          : network_denoise_fn(pipeline.network, view, dtype_of(pipeline), labels);
}

Tensor sample_images(const Pipeline& pipeline, const SamplerOptions& options,
                     const ImageRequest& request, const TraceFn& trace) {
  return draw_images(pipeline, request, [&](const Denoiser& model, const SampleRequest& batch) {
    return sample(model.schedule, model.prediction, model.denoise, options, batch, trace);
  });
}

Tensor draw_images(const Pipeline& pipeline, const ImageRequest& request, const DrawFn& draw) {
  check_arg(request.num_images > 0, "[draw_images] num_images: expected 1 or more, got ",
            request.num_images);
  check_arg(request.batch_size > 0, "[draw_images] batch_size: expected 1 or more, got ",
            request.batch_size);
  check_label_count(request.class_labels, request.num_images);
  check_label_count(request.classifier.class_labels, request.num_images);
  const Tensor& low_resolution = request.low_resolution;
  const bool one_for_all = !low_resolution.defined() || low_resolution.size(0) == 1;
  check_arg(one_for_all || low_resolution.size(0) == request.num_images,
            "[draw_images] low_resolution: expected one for each of ", request.num_images,
            " images, or one for all, got shape ", low_resolution.sizes());
  std::vector<Tensor> batches;
  for (int64_t first = 0; first < request.num_images; first += request.batch_size) {
    const int64_t count = std::min(request.batch_size, request.num_images - first);
    Conditioning conditioning{
        .class_labels = of_batch(request.class_labels, first, count),
        .low_resolution = one_for_all ? low_resolution : of_batch(low_resolution, first, count),
        .guidance = request.guidance,
        .guide = request.guide,
        .classifier = request.classifier};
    conditioning.classifier.class_labels = of_batch(request.classifier.class_labels, first, count);
    const SampleRequest batch{.seed = request.seed,
                              .first_image = request.first_image + static_cast<uint64_t>(first),
                              .num_images = count,
                              .image_shape = pipeline.image_shape(),
                              .device = pipeline.device};
    batches.push_back(draw(make_denoiser(pipeline, conditioning), batch).cpu());
  }
  return at::cat(batches);
}

}  // namespace ddpm
