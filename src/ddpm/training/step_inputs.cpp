#include "ddpm/training/step_inputs.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <numeric>
#include <stdexcept>
#include <vector>

#include "ddpm/core/check.h"
#include "ddpm/core/philox.h"
#include "ddpm/data/augment.h"
#include "ddpm/data/permutation.h"
#include "ddpm/diffusion/noise_schedule.h"
#include "ddpm/training/ema_decay.h"
#include "ddpm/training/learning_rate.h"

namespace ddpm {
namespace {

/// A value of the host, and what it becomes.
struct HostValue {
  Tensor StepInputs::*input;
  Tensor value;
};

std::vector<uint64_t> samples_of(const RunConfig& config, int64_t step) {
  std::vector<uint64_t> samples(static_cast<size_t>(config.train.batch_size));
  std::iota(samples.begin(), samples.end(), static_cast<uint64_t>(step * config.train.batch_size));
  return samples;
}

/// Uniform in [0, 1), a multiple of 2^-53.
double uniform_double(RandomKey key, uint64_t sample) {
  return static_cast<double>(random_bits(key, sample, /*step=*/0) >> 11) * 0x1p-53;
}

int64_t stratified_timestep(const RunConfig& config, uint64_t shuffle, uint64_t sample, int64_t i) {
  const auto num_timesteps = static_cast<double>(config.diffusion.num_timesteps);
  const int64_t part = permuted_index(shuffle, /*epoch=*/0, i, config.train.batch_size);
  const double within = uniform_double({config.train.seed, RandomStream::kTimestep}, sample);
  const double place =
      (static_cast<double>(part) + within) / static_cast<double>(config.train.batch_size);
  return std::min(static_cast<int64_t>(place * num_timesteps), config.diffusion.num_timesteps - 1);
}

Tensor timestep_draws(const RunConfig& config, int64_t step) {
  const Tensor draws = at::empty({config.train.batch_size}, at::kDouble);
  double* next = draws.mutable_data_ptr<double>();
  for (const uint64_t sample : samples_of(config, step)) {
    *next++ = uniform_double({config.train.seed, RandomStream::kTimestep}, sample);
  }
  return draws;
}

/// The labels, with each of them replaced by the null class with probability class_dropout.
Tensor drop_labels(const RunConfig& config, const Tensor& labels, int64_t step) {
  const Tensor draws =
      uniform_like_images({config.train.seed, RandomStream::kClassDropout},
                          samples_of(config, step), /*step=*/0, /*image_shape=*/{});
  return at::where(draws < config.train.class_dropout, at::full_like(labels, config.null_class()),
                   labels);
}

/// z + offset_noise * z_channel.
Tensor draw_noise(const RunConfig& config, at::ArrayRef<uint64_t> samples,
                  at::IntArrayRef image_shape) {
  const uint64_t seed = config.train.seed;
  Tensor noise = normal_like_images({seed, RandomStream::kTrainNoise}, samples, 0, image_shape);
  if (config.train.offset_noise > 0) {
    const Tensor offset =
        normal_like_images({seed, RandomStream::kOffsetNoise}, samples, 0, {image_shape[0], 1, 1});
    noise.add_(offset, config.train.offset_noise);
  }
  return noise;
}

void add_noise_values(const RunConfig& config, at::ArrayRef<uint64_t> samples,
                      at::IntArrayRef image_shape, std::vector<HostValue>& values) {
  const Tensor noise = draw_noise(config, samples, image_shape);
  values.push_back({&StepInputs::noise, noise.contiguous(at::MemoryFormat::ChannelsLast)});
  if (config.train.input_perturbation == 0) return;
  const Tensor more = normal_like_images({config.train.seed, RandomStream::kInputNoise}, samples,
                                         /*step=*/0, image_shape);
  const Tensor input_noise = noise + config.train.input_perturbation * more;
  values.push_back(
      {&StepInputs::input_noise, input_noise.contiguous(at::MemoryFormat::ChannelsLast)});
}

HostValue timestep_value(const RunConfig& config, int64_t step, const Tensor& log_sigmas) {
  switch (config.train.timestep_sampling) {
    case TimestepSampling::kLossAware:
      return {&StepInputs::t_draw, timestep_draws(config, step)};
    case TimestepSampling::kLogNormal:
      return {&StepInputs::t, draw_log_normal_timesteps(config, step, log_sigmas)};
    case TimestepSampling::kUniform:
    case TimestepSampling::kStratified:
      return {&StepInputs::t, draw_timesteps(config, step)};
  }
  throw std::logic_error("[fill_step_inputs] not a TimestepSampling");
}

std::vector<HostValue> host_values(const RunConfig& config, const Batch& batch, int64_t step,
                                   const Tensor& log_sigmas) {
  const std::vector<uint64_t> samples = samples_of(config, step);
  std::vector<HostValue> values;
  add_noise_values(config, samples, batch.images.sizes().slice(1), values);
  values.push_back(timestep_value(config, step, log_sigmas));
  if (config.augment.enabled) {
    const AugmentParameters augmentation =
        draw_augmentation(config.augment, config.train.seed, samples);
    values.push_back({&StepInputs::warp, source_matrices(augmentation)});
    values.push_back({&StepInputs::augment_labels, augment_labels(config.augment, augmentation)});
  }
  const bool drops = config.train.class_dropout > 0;
  values.push_back({&StepInputs::images, batch.images});
  values.push_back(
      {&StepInputs::labels, drops ? drop_labels(config, batch.labels, step) : batch.labels});
  values.push_back({&StepInputs::flip, batch.flip});
  values.push_back({&StepInputs::step, at::scalar_tensor(step, at::kLong)});
  const double lr = learning_rate(config.optimizer, step, config.train.steps);
  values.push_back({&StepInputs::lr, at::scalar_tensor(lr, at::kDouble)});
  values.push_back(
      {&StepInputs::ema_decay, at::scalar_tensor(ema_decay(config.ema, step), at::kDouble)});
  return values;
}

}  // namespace

StepInputs make_step_inputs(const RunConfig& config, at::Device device) {
  StepInputs inputs;
  inputs.upload = DeviceUpload(device);
  if (config.train.timestep_sampling == TimestepSampling::kLossAware) {
    inputs.t = at::zeros({config.train.batch_size}, at::device(device).dtype(at::kLong));
  }
  if (config.train.timestep_sampling == TimestepSampling::kLogNormal) {
    inputs.log_sigmas = log_sigma_table(config.diffusion);
  }
  return inputs;
}

Tensor log_sigma_table(const DiffusionConfig& config) {
  const Tensor alpha_bar = make_noise_schedule(config).alphas_cumprod;
  return ((1 - alpha_bar) / alpha_bar).log() / 2;
}

Tensor draw_log_normal_timesteps(const RunConfig& config, int64_t step, const Tensor& log_sigmas) {
  const Tensor draws = normal_like_images({config.train.seed, RandomStream::kTimestep},
                                          samples_of(config, step), /*step=*/0, /*image_shape=*/{});
  const Tensor wanted =
      config.train.log_sigma_mean + config.train.log_sigma_std * draws.to(at::kDouble);
  const Tensor between = (log_sigmas.slice(/*dim=*/0, 1) + log_sigmas.slice(/*dim=*/0, 0, -1)) / 2;
  return at::searchsorted(between, wanted);
}

void fill_step_inputs(const RunConfig& config, const Batch& batch, int64_t step,
                      StepInputs& inputs) {
  check_arg(batch.images.size(0) == config.train.batch_size,
            "[TrainStep] a batch must have train.batch_size images: expected ",
            config.train.batch_size, ", got ", batch.images.size(0));
  const std::vector<HostValue> host = host_values(config, batch, step, inputs.log_sigmas);
  std::vector<Tensor> values;
  for (const HostValue& item : host) values.push_back(item.value);
  const std::vector<Tensor>& sent = inputs.upload.send(values);
  for (size_t i = 0; i < host.size(); ++i) inputs.*host[i].input = sent[i];
}

Tensor draw_timesteps(const RunConfig& config, int64_t step) {
  const uint64_t seed = config.train.seed;
  const bool stratified = config.train.timestep_sampling == TimestepSampling::kStratified;
  const uint64_t shuffle =
      random_bits({seed, RandomStream::kStratum}, static_cast<uint64_t>(step), /*step=*/0);
  const std::vector<uint64_t> samples = samples_of(config, step);
  const Tensor t = at::empty({config.train.batch_size}, at::kLong);
  auto* value = t.mutable_data_ptr<int64_t>();
  for (int64_t i = 0; i < config.train.batch_size; ++i) {
    const uint64_t sample = samples[static_cast<size_t>(i)];
    value[i] = stratified ? stratified_timestep(config, shuffle, sample, i)
                          : random_below({seed, RandomStream::kTimestep}, sample, /*step=*/0,
                                         config.diffusion.num_timesteps);
  }
  return t;
}

}  // namespace ddpm
