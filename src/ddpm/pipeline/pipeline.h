#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "ddpm/checkpoint/model_folder.h"
#include "ddpm/config/guidance_config.h"
#include "ddpm/config/sample_config.h"
#include "ddpm/config/train_config.h"
#include "ddpm/core/tensor.h"
#include "ddpm/diffusion/noise_schedule.h"
#include "ddpm/sampling/denoise_fn.h"
#include "ddpm/sampling/denoiser.h"
#include "ddpm/sampling/sampler.h"

namespace ddpm {

class NetworkImpl;

/// How load_pipeline reads a model.
struct PipelineOptions {
  std::string device = "auto";             ///< auto, cpu, cuda or cuda:N.
  Precision precision = Precision::kFp32;  ///< of the network; sampler states stay fp32.
  bool raw_weights = false;                ///< a checkpoint's own weights instead of their EMA.
};

/// A trained model, ready to sample: network, schedule, and what its files say about it.
struct Pipeline {
  ModelFolder folder;  ///< Configs and extras; `weights` is empty, the network holds them.
  NoiseSchedule schedule;
  std::shared_ptr<NetworkImpl> network;  ///< In eval mode, on `device`.
  at::Device device = at::kCPU;
  /// network_answer_fn: what all of the model's make_denoise_fn share, so that batches share their
  /// captured graphs. It serves one thread. Empty: each make_denoise_fn has its own.
  LabelledDenoiseFn answers = {};

  /// [C, H, W] of the images that the model makes.
  std::vector<int64_t> image_shape() const;
};

/// Opens a model folder (ours or diffusers'), a run folder (its newest checkpoint) or a checkpoint.
///
/// @throws std::invalid_argument if the path holds none of these, or the weights don't fit.
/// @throws std::runtime_error if a file is damaged.
Pipeline load_pipeline(const std::filesystem::path& path, const PipelineOptions& options = {});

/// What load_pipeline reads, before the network is built: for `ddpm info`.
ModelFolder read_model(const std::filesystem::path& path, bool raw_weights = false);

/// @throws std::invalid_argument if the model draws no images: a classifier.
void check_draws_images(const ModelFolder& folder);
/// @throws std::invalid_argument if the model is no classifier.
void check_classifies_images(const ModelFolder& folder);

/// The sampler options that the model's scheduler file asks for (sampler_of_scheduler).
SamplerOptions default_sampler_options(const Pipeline& pipeline);

/// The network as samplers see it.
///
/// @param class_labels   [N] int64 for a network with classes, else undefined.
/// @param low_resolution [N or 1, C, H / f, W / f] float32 in [-1, 1], the images that a model
///                       trained with train.super_resolution = f enlarges; undefined for others.
/// @throws std::invalid_argument as check_draws_images(), or if low_resolution is missing, does not
///         fit, or is given to a model that enlarges nothing.
DenoiseFn make_denoise_fn(const Pipeline& pipeline, const Tensor& class_labels = {},
                          const Tensor& low_resolution = {});

/// A classifier of noisy images that leads samples to its classes by its gradient
/// (sampling/classifier_guidance.h has the formulas).
struct ClassifierGuide {
  const Pipeline* pipeline = nullptr;  ///< The classifier; none: no such guidance.
  double scale = 1.0;
  Tensor class_labels = {};  ///< [N] int64, one an image, as the classifier numbers classes.
};

/// What sample_images draws.
struct ImageRequest {
  uint64_t seed = 0;
  uint64_t first_image = 0;
  int64_t num_images = 1;
  int64_t batch_size = 64;     ///< Images that the network sees at once; results don't depend on it
                               ///< beyond the rounding of its convolutions.
  Tensor class_labels = {};    ///< [num_images] int64, or undefined.
  Tensor low_resolution = {};  ///< Of make_denoise_fn, for num_images images or one for all.
  GuidanceOptions guidance = {};    ///< Scale 1: none.
  const Pipeline* guide = nullptr;  ///< A weaker model to guide with; without, the null class does.
  ClassifierGuide classifier = {};
};

/// Draws images from a model.
///
/// @param trace called once a step of each batch, if given.
/// @return      [num_images, C, H, W] float32 on the CPU, mostly in [-1, 1].
/// @throws std::invalid_argument as sample() and make_denoiser() (pipeline/guided_denoiser.h) do,
///         or if there are not num_images labels, or images to enlarge.
Tensor sample_images(const Pipeline& pipeline, const SamplerOptions& options,
                     const ImageRequest& request, const TraceFn& trace = {});

/// Makes one batch of images, [N, C, H, W] on the model's device.
using DrawFn = std::function<Tensor(const Denoiser& model, const SampleRequest& batch)>;

/// A request's images, batch by batch: what sample_images does, with `draw` in the place of
/// sample(). Same result and errors.
Tensor draw_images(const Pipeline& pipeline, const ImageRequest& request, const DrawFn& draw);

}  // namespace ddpm
