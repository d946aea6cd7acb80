#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <vector>

#include "ddpm/data/augment.h"
#include "ddpm/diffusion/edm.h"
#include "ddpm/diffusion/forward_process.h"
#include "ddpm/diffusion/prediction.h"
#include "ddpm/loss/training_loss.h"
#include "ddpm/model/low_resolution.h"
#include "ddpm/pipeline/precision.h"
#include "ddpm/training/train_step.h"

// What the network is given and what it answers, for TrainStep's micro-batches.
namespace ddpm {

Tensor TrainStep::part(const Tensor& batch, int64_t index) const {
  const int64_t size = config_.train.batch_size / config_.train.accumulation;
  return batch.defined() ? batch.narrow(/*dim=*/0, index * size, size) : batch;
}

LossInputs TrainStep::forward(int64_t index) {
  const at::ScalarType dtype = dtype_of(config_.train.precision);
  // The bound compares means that are made of x_t, where bfloat16 would be too coarse; EDM scales
  // x_t before it is rounded.
  const bool is_edm = config_.diffusion.prediction == PredictionType::kEdm &&
                      config_.model.kind != ModelKind::kClassifier;
  const bool keeps_x_t = has_variational_bound(config_.loss.kind) || is_edm;
  const Tensor t = part(inputs_.t, index);
  const NoisedBatch noised = noised_images(index, keeps_x_t ? at::kFloat : dtype);
  const NetworkLabels labels = network_labels(index);
  const EdmInput input = is_edm ? edm_input(schedule_.sigma_data, noised.x_t,
                                            schedule_.alphas_cumprod.index_select(/*dim=*/0, t))
                                : EdmInput{noised.x_t, t};
  const Tensor x_t = input.x.to(dtype);
  return {.x_start = noised.x_start,
          .x_t = noised.x_t,
          .t = t,
          .noise = part(inputs_.noise, index),
          .output = network_->forward(network_input(x_t, t, noised.x_start, labels), input.c_noise,
                                      labels),
          .labels = part(inputs_.labels, index)};
}

NoisedBatch TrainStep::noised_images(int64_t index, at::ScalarType x_t_dtype) const {
  const Tensor t = part(inputs_.t, index);
  const Tensor noise =
      part(inputs_.input_noise.defined() ? inputs_.input_noise : inputs_.noise, index);
  const Tensor images = part(inputs_.images, index);
  const Tensor flip = part(inputs_.flip, index);
  if (inputs_.warp.defined()) {
    const Tensor x_start = warp_images(x_start_of_pixels(images, flip), part(inputs_.warp, index));
    return {x_start, q_sample(schedule_, x_start, t, noise).to(x_t_dtype)};
  }
  return q_sample_uint8({.images = images,
                         .flip = flip,
                         .t = t,
                         .noise = noise,
                         .sqrt_alphas_cumprod = sqrt_alphas_cumprod_,
                         .sqrt_one_minus_alphas_cumprod = sqrt_one_minus_alphas_cumprod_,
                         .x_t_dtype = x_t_dtype});
}

NetworkLabels TrainStep::network_labels(int64_t index) const {
  return {.class_labels = config_.train.class_conditional ? part(inputs_.labels, index) : Tensor(),
          .augment_labels = part(inputs_.augment_labels, index)};
}

Tensor TrainStep::network_input(const Tensor& x_t, const Tensor& t, const Tensor& x_start,
                                const NetworkLabels& labels) {
  std::vector<Tensor> channels{x_t};
  Tensor low_resolution;
  if (const int64_t factor = config_.train.super_resolution; factor > 0) {
    low_resolution = enlarge_images(reduce_images(x_start, factor), factor).to(x_t.scalar_type());
  }
  if (config_.train.self_conditioning) {
    channels.push_back(draw_guess(x_t, t, low_resolution, labels));
  }
  if (low_resolution.defined()) channels.push_back(low_resolution);
  return channels.size() == 1 ? x_t : at::cat(channels, /*dim=*/1);
}

Tensor TrainStep::draw_guess(const Tensor& x_t, const Tensor& t, const Tensor& low_resolution,
                             const NetworkLabels& labels) {
  const at::NoGradGuard no_grad;
  const int64_t guessed = x_t.size(0) / 2;
  const auto first = [&](const Tensor& batch) {
    return batch.defined() ? batch.narrow(/*dim=*/0, 0, guessed) : batch;
  };
  const Tensor none = at::zeros_like(x_t);
  std::vector<Tensor> channels{first(x_t), first(none)};
  if (low_resolution.defined()) channels.push_back(first(low_resolution));
  const Tensor output = network_->forward(
      at::cat(channels, /*dim=*/1), first(t),
      {.class_labels = first(labels.class_labels), .augment_labels = first(labels.augment_labels)});
  const Tensor guess = self_condition(schedule_, config_.diffusion.prediction,
                                      first(x_t).to(at::kFloat), first(t), output);
  const Tensor rest = none.narrow(/*dim=*/0, guessed, x_t.size(0) - guessed);
  return at::cat({guess.to(x_t.scalar_type()), rest});
}

}  // namespace ddpm
