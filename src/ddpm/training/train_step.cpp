#include "ddpm/training/train_step.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <map>
#include <string>
#include <utility>
#include <vector>

#include "ddpm/core/check.h"
#include "ddpm/core/philox.h"
#include "ddpm/diffusion/prediction.h"
#include "ddpm/kernels/q_sample_uint8.h"
#include "ddpm/loss/diffusion_loss.h"
#include "ddpm/training/ema_decay.h"
#include "ddpm/training/learning_rate.h"

namespace ddpm {
namespace {

constexpr const char* kFirstMoment = "exp_avg.";
constexpr const char* kSecondMoment = "exp_avg_sq.";

AdamEmaOptions optimizer_options(const OptimizerConfig& config) {
  return {.decoupled_weight_decay = config.kind == OptimizerKind::kAdamW,
          .beta1 = config.beta1,
          .beta2 = config.beta2,
          .eps = config.eps,
          .weight_decay = config.weight_decay,
          .max_grad_norm = config.max_grad_norm};
}

// From pinned memory the copy runs while the host goes on; the allocator keeps it until then.
void send(const Tensor& host, Tensor& buffer) {
  buffer.copy_(buffer.is_cuda() ? host.pin_memory() : host, /*non_blocking=*/true);
}

Tensor empty_on(const Tensor& example, at::Device device) {
  return at::empty(example.sizes(), example.options().device(device));
}

// Moves the tensors whose names start with `prefix` out of `tensors`, without the prefix.
NamedTensors take_prefixed(std::map<std::string, Tensor>& tensors, const std::string& prefix) {
  NamedTensors taken;
  std::erase_if(tensors, [&](const auto& item) {
    const bool has_prefix = item.first.starts_with(prefix);
    if (has_prefix) taken.emplace_back(item.first.substr(prefix.size()), item.second);
    return has_prefix;
  });
  return taken;
}

}  // namespace

TrainStep::TrainStep(const RunConfig& config, std::shared_ptr<NetworkImpl> network,
                     at::Device device)
    : config_(config),
      network_(std::move(network)),
      device_(device),
      schedule_(make_noise_schedule(config.diffusion).to(device)),
      sqrt_alphas_cumprod_(schedule_.sqrt_alphas_cumprod.to(at::kFloat)),
      sqrt_one_minus_alphas_cumprod_(schedule_.sqrt_one_minus_alphas_cumprod.to(at::kFloat)),
      parameters_(network_, config.train.precision),
      optimizer_(make_adam_ema_state(parameters_.master())),
      ema_buffers_(parameters_.buffers().clone()),
      saved_buffers_(parameters_.buffers().clone()),
      statistics_(make_step_statistics(device)),
      losses_(make_step_losses(device)) {
  check_arg(config.train.batch_size % config.train.accumulation == 0,
            "[TrainStep] train.accumulation must divide train.batch_size: expected a divisor of ",
            config.train.batch_size, ", got ", config.train.accumulation);
  if (config.loss.weighting != LossWeighting::kNone) {
    loss_weights_ = loss_weight_table(config.loss, config.diffusion.prediction, schedule_);
  }
  const auto numbers = at::TensorOptions(at::kLong).device(device);
  inputs_.t = at::zeros({config.train.batch_size}, numbers);
  inputs_.step = at::zeros({}, numbers);
  network_->train();
}

void TrainStep::prepare(const Batch& batch, int64_t step) {
  const int64_t batch_size = config_.train.batch_size;
  check_arg(batch.images.size(0) == batch_size, "[TrainStep] a batch must have train.batch_size ",
            "images: expected ", batch_size, ", got ", batch.images.size(0));
  if (!inputs_.images.defined()) {
    inputs_.images = empty_on(batch.images, device_);
    inputs_.labels = empty_on(batch.labels, device_);
    inputs_.flip = empty_on(batch.flip, device_);
    inputs_.noise = at::empty(batch.images.sizes(), at::TensorOptions(at::kFloat).device(device_))
                        .contiguous(at::MemoryFormat::ChannelsLast);
  }
  std::vector<uint64_t> samples;
  const Tensor t = at::empty({batch_size}, at::kLong);
  for (int64_t i = 0; i < batch_size; ++i) {
    samples.push_back(static_cast<uint64_t>(step * batch_size + i));
    t.mutable_data_ptr<int64_t>()[i] =
        random_below({config_.train.seed, RandomStream::kTimestep}, samples.back(), /*step=*/0,
                     schedule_.num_timesteps());
  }
  const RandomKey noise_key{config_.train.seed, RandomStream::kTrainNoise};
  send(normal_like_images(noise_key, samples, /*step=*/0, batch.images.sizes().slice(1)),
       inputs_.noise);
  send(t, inputs_.t);
  send(batch.images, inputs_.images);
  send(batch.labels, inputs_.labels);
  send(batch.flip, inputs_.flip);
  inputs_.step.fill_(step);
  step_ = step;
  lr_ = learning_rate(config_.optimizer, step, config_.train.steps);
  ema_decay_ = ddpm::ema_decay(config_.ema, step);
  optimizer_.lr.fill_(lr_);
  optimizer_.ema_decay.fill_(ema_decay_);
}

void TrainStep::run() {
  parameters_.zero_grad();
  saved_buffers_.copy_(parameters_.buffers());
  losses_.loss.zero_();
  losses_.quarter_loss_sum.zero_();
  losses_.quarter_images.zero_();
  for (int64_t i = 0; i < config_.train.accumulation; ++i) run_micro_batch(i);
  update();
}

void TrainStep::run_micro_batch(int64_t index) {
  const int64_t size = config_.train.batch_size / config_.train.accumulation;
  const auto part = [&](const Tensor& batch) {
    return batch.narrow(/*dim=*/0, index * size, size);
  };
  at::manual_seed(random_bits({config_.train.seed, RandomStream::kDropout},
                              static_cast<uint64_t>(step_), static_cast<uint32_t>(index)));
  const bool bf16 = config_.train.precision == Precision::kBf16;
  const Tensor t = part(inputs_.t);
  const Tensor noise = part(inputs_.noise);
  const NoisedBatch noised =
      q_sample_uint8({.images = part(inputs_.images),
                      .flip = part(inputs_.flip),
                      .t = t,
                      .noise = noise,
                      .sqrt_alphas_cumprod = sqrt_alphas_cumprod_,
                      .sqrt_one_minus_alphas_cumprod = sqrt_one_minus_alphas_cumprod_,
                      .x_t_dtype = bf16 ? at::kBFloat16 : at::kFloat});
  const Tensor labels = config_.train.class_conditional ? part(inputs_.labels) : Tensor();
  const Tensor output = network_->forward(noised.x_t, t, labels);
  const Tensor target =
      training_target(schedule_, config_.diffusion.prediction, noised.x_start, t, noise);
  const Tensor losses = loss_per_image(config_.loss, output, target);
  const Tensor weighted =
      loss_weights_.defined() ? losses * loss_weights_.index_select(/*dim=*/0, t) : losses;
  const Tensor loss = weighted.sum() / config_.train.batch_size;
  loss.backward();
  parameters_.gather_grad();
  losses_.loss.add_(loss.detach());
  add_losses(losses_, losses.detach(), t, schedule_.num_timesteps());
}

void TrainStep::update() {
  const at::NoGradGuard no_grad;
  const Tensor grad_norm =
      adam_ema_step(optimizer_options(config_.optimizer), optimizer_, parameters_.master(),
                    parameters_.grad(), losses_.loss, parameters_.weights());
  const Tensor counts = optimizer_.nonfinite_in_a_row == 0;
  const Tensor& buffers = parameters_.buffers();
  buffers.copy_(at::where(counts, buffers, saved_buffers_));
  const Tensor share = at::where(counts, 1 - optimizer_.ema_decay, at::zeros_like(optimizer_.lr));
  ema_buffers_.lerp_(buffers, share.to(at::kFloat));
  add_step(statistics_, losses_, inputs_.step, grad_norm, optimizer_.nonfinite_in_a_row);
}

void TrainStep::use_ema() {
  const at::NoGradGuard no_grad;
  parameters_.use(optimizer_.ema, ema_buffers_);
  network_->eval();
}

void TrainStep::use_trained() {
  const at::NoGradGuard no_grad;
  parameters_.use_trained();
  network_->train();
}

template <typename Visitor>
void TrainStep::visit_device_state(Visitor&& visit) {
  visit("optimizer.step", optimizer_.step);
  visit("optimizer.nonfinite_total", optimizer_.nonfinite_total);
  visit("optimizer.nonfinite_in_a_row", optimizer_.nonfinite_in_a_row);
  statistics_.visit_tensors(
      [&](const std::string& name, Tensor& tensor) { visit("statistics." + name, tensor); });
}

NamedTensors TrainStep::weights_state() const {
  return parameters_.named_state(parameters_.master(), parameters_.buffers());
}

NamedTensors TrainStep::ema_state() const {
  return parameters_.named_state(optimizer_.ema, ema_buffers_);
}

NamedTensors TrainStep::optimizer_state() {
  NamedTensors state;
  for (const auto& [name, tensor] : parameters_.named_parameters(optimizer_.m)) {
    state.emplace_back(kFirstMoment + name, tensor);
  }
  for (const auto& [name, tensor] : parameters_.named_parameters(optimizer_.v)) {
    state.emplace_back(kSecondMoment + name, tensor);
  }
  visit_device_state(
      [&](const std::string& name, Tensor& tensor) { state.emplace_back(name, tensor.clone()); });
  return state;
}

void TrainStep::load(const NamedTensors& weights, const NamedTensors& ema,
                     const NamedTensors& optimizer) {
  const at::NoGradGuard no_grad;
  std::map<std::string, Tensor> rest(optimizer.begin(), optimizer.end());
  const NamedTensors first = take_prefixed(rest, kFirstMoment);
  const NamedTensors second = take_prefixed(rest, kSecondMoment);
  parameters_.assign_state(ema, optimizer_.ema, ema_buffers_);
  parameters_.assign_state(weights, parameters_.master(), parameters_.buffers());
  parameters_.assign_parameters(first, optimizer_.m);
  parameters_.assign_parameters(second, optimizer_.v);
  visit_device_state([&](const std::string& name, Tensor& tensor) {
    const auto found = rest.find(name);
    check_arg(found != rest.end() && found->second.sizes() == tensor.sizes(),
              "[TrainStep] the optimizer's state must hold '", name, "' of shape ", tensor.sizes());
    tensor.copy_(found->second);
    rest.erase(found);
  });
  check_arg(rest.empty(), "[TrainStep] the optimizer's state has an unknown tensor '",
            rest.empty() ? "" : rest.begin()->first, "'");
  parameters_.refresh_weights();
}

}  // namespace ddpm
