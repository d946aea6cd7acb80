#include "ddpm/training/step_inputs.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <numeric>
#include <vector>

#include "ddpm/core/check.h"
#include "ddpm/core/philox.h"
#include "ddpm/data/augment.h"
#include "ddpm/data/permutation.h"
#include "ddpm/diffusion/noise_schedule.h"

namespace ddpm {
namespace {

// From pinned memory the copy runs while the host goes on; the allocator keeps it until then.
void send(const Tensor& values, Tensor& buffer) {
  buffer.copy_(buffer.is_cuda() && values.is_cpu() ? values.pin_memory() : values,
               /*non_blocking=*/true);
}

Tensor empty_on(const Tensor& example, at::Device device) {
  return at::empty(example.sizes(), example.options().device(device));
}

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

Tensor draw_noise(const RunConfig& config, at::ArrayRef<uint64_t> samples,
                  at::IntArrayRef image_shape, at::Device device) {
  const uint64_t seed = config.train.seed;
  Tensor noise =
      normal_like_images({seed, RandomStream::kTrainNoise}, samples, 0, image_shape, device);
  if (config.train.offset_noise > 0) {
    const Tensor offset = normal_like_images({seed, RandomStream::kOffsetNoise}, samples, 0,
                                             {image_shape[0], 1, 1}, device);
    noise.add_(offset, config.train.offset_noise);
  }
  return noise;
}

void make_buffers(const RunConfig& config, const Batch& batch, StepInputs& inputs) {
  const at::Device device = inputs.step.device();
  inputs.images = empty_on(batch.images, device);
  inputs.labels = empty_on(batch.labels, device);
  inputs.flip = empty_on(batch.flip, device);
  inputs.noise = at::empty(batch.images.sizes(), at::TensorOptions(at::kFloat).device(device))
                     .contiguous(at::MemoryFormat::ChannelsLast);
  if (config.augment.enabled) {
    const auto numbers = inputs.noise.options().memory_format(at::MemoryFormat::Contiguous);
    inputs.warp = at::empty({batch.images.size(0), 2, 3}, numbers);
    inputs.augment_labels = at::empty({batch.images.size(0), config.augment.num_labels()}, numbers);
  }
  if (config.train.input_perturbation > 0) inputs.input_noise = at::empty_like(inputs.noise);
}

}  // namespace

StepInputs make_step_inputs(const RunConfig& config, at::Device device) {
  const auto numbers = at::TensorOptions(at::kLong).device(device);
  StepInputs inputs;
  inputs.t = at::zeros({config.train.batch_size}, numbers);
  if (config.train.timestep_sampling == TimestepSampling::kLossAware) {
    inputs.t_draw = at::zeros({config.train.batch_size}, numbers.dtype(at::kDouble));
  }
  if (config.train.timestep_sampling == TimestepSampling::kLogNormal) {
    inputs.log_sigmas = log_sigma_table(config.diffusion);
  }
  inputs.step = at::zeros({}, numbers);
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
  if (!inputs.images.defined()) make_buffers(config, batch, inputs);
  const std::vector<uint64_t> samples = samples_of(config, step);
  const auto image_shape = batch.images.sizes().slice(1);
  const at::Device device = inputs.step.device();
  const Tensor noise = draw_noise(config, samples, image_shape, device);
  send(noise, inputs.noise);
  if (inputs.input_noise.defined()) {
    const Tensor more = normal_like_images({config.train.seed, RandomStream::kInputNoise}, samples,
                                           /*step=*/0, image_shape, device);
    send(noise + config.train.input_perturbation * more, inputs.input_noise);
  }
  if (inputs.t_draw.defined()) {
    send(timestep_draws(config, step), inputs.t_draw);
  } else if (inputs.log_sigmas.defined()) {
    send(draw_log_normal_timesteps(config, step, inputs.log_sigmas), inputs.t);
  } else {
    send(draw_timesteps(config, step), inputs.t);
  }
  if (inputs.warp.defined()) {
    const AugmentParameters augmentation =
        draw_augmentation(config.augment, config.train.seed, samples);
    send(source_matrices(augmentation), inputs.warp);
    send(augment_labels(config.augment, augmentation), inputs.augment_labels);
  }
  send(batch.images, inputs.images);
  const bool drops = config.train.class_dropout > 0;
  send(drops ? drop_labels(config, batch.labels, step) : batch.labels, inputs.labels);
  send(batch.flip, inputs.flip);
  inputs.step.fill_(step);
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
