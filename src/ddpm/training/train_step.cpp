#include "ddpm/training/train_step.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <utility>

#include "ddpm/core/check.h"
#include "ddpm/core/log.h"
#include "ddpm/core/philox.h"
#include "ddpm/kernels/gradients_beside.h"
#include "ddpm/loss/diffusion_loss.h"
#include "ddpm/loss/training_loss.h"
#include "ddpm/model/gradient_checkpoint.h"
#include "ddpm/training/ema_decay.h"
#include "ddpm/training/learning_rate.h"
#include "ddpm/training/power_ema.h"

namespace ddpm {
namespace {

constexpr int64_t kWarmUpSteps = 3;  // before a step is captured

AdamEmaOptions optimizer_options(const OptimizerConfig& config) {
  return {.decoupled_weight_decay = config.kind == OptimizerKind::kAdamW,
          .beta1 = config.beta1,
          .beta2 = config.beta2,
          .eps = config.eps,
          .weight_decay = config.weight_decay,
          .max_grad_norm = config.max_grad_norm};
}

bool is_classifier(const RunConfig& config) { return config.model.kind == ModelKind::kClassifier; }

bool drops(const ModelConfig& model) {
  return (model.kind == ModelKind::kUNet2D && model.unet2d.dropout > 0) ||
         (model.kind == ModelKind::kClassifier && model.classifier.dropout > 0);
}

/// Whether the step may be captured; says why not where a GPU could have.
bool may_capture(const RunConfig& config, at::Device device) {
  if (config.train.capture == Capture::kOff) return false;
  if (!config.train.gradient_checkpointing || !drops(config.model)) return true;
  if (!device.is_cpu()) {
    log_info(
        "[TrainStep] not captured in a CUDA graph: gradient checkpointing draws dropout again");
  }
  return false;
}

}  // namespace

TrainStep::TrainStep(const RunConfig& config, std::shared_ptr<NetworkImpl> network,
                     at::Device device)
    : config_(config),
      network_(std::move(network)),
      schedule_(make_noise_schedule(config.diffusion).to(device)),
      sqrt_alphas_cumprod_(schedule_.sqrt_alphas_cumprod.to(at::kFloat)),
      sqrt_one_minus_alphas_cumprod_(schedule_.sqrt_one_minus_alphas_cumprod.to(at::kFloat)),
      parameters_(network_, config.train.precision, config.train.accumulation),
      weight_tiles_(parameters_.weights()),
      optimizer_(make_adam_ema_state(parameters_.master())),
      ema_buffers_(parameters_.buffers().clone()),
      saved_buffers_(parameters_.buffers().clone()),
      statistics_(make_step_statistics(device, is_classifier(config))),
      losses_(make_step_losses(device, is_classifier(config))),
      d_objective_(at::full({config.train.batch_size},
                            1.0 / static_cast<double>(config.train.batch_size),
                            at::device(device).dtype(at::kFloat))),
      inputs_(make_step_inputs(config, device)),
      lead_(device),
      replay_("TrainStep", device, kWarmUpSteps, may_capture(config, device)) {
  check_arg(config.train.batch_size % config.train.accumulation == 0,
            "[TrainStep] train.accumulation must divide train.batch_size: expected a divisor of ",
            config.train.batch_size, ", got ", config.train.accumulation);
  if (config.loss.weighting != LossWeighting::kNone) {
    loss_weights_ = loss_weight_table(config.loss, config.diffusion.prediction, schedule_);
  }
  if (config.train.timestep_sampling == TimestepSampling::kLossAware) {
    const auto numbers = at::TensorOptions(at::kFloat).device(device);
    history_ = make_loss_history(schedule_.num_timesteps(), device);
    t_weights_ = at::ones({config.train.batch_size}, numbers);
    image_losses_ = at::zeros({config.train.batch_size}, numbers);
  }
  for (const double std : config.ema.power_stds) {
    power_emas_.push_back({.gamma = power_ema_gamma(std),
                           .weights = parameters_.master().clone(),
                           .buffers = parameters_.buffers().clone()});
  }
  network_->train();
  if (config.train.gradient_checkpointing) {
    check_arg(checkpoint_gradients(*network_),
              "[TrainStep] train.gradient_checkpointing: expected ",
              "a network with res blocks or attention, got one without");
  }
}

void TrainStep::prepare(const Batch& batch, int64_t step) {
  fill_step_inputs(config_, batch, step, inputs_);
  lead_.wait();  // the draws are made by then
  step_ = step;
  lr_ = learning_rate(config_.optimizer, step, config_.train.steps);
  ema_decay_ = ddpm::ema_decay(config_.ema, step);
  optimizer_.lr = inputs_.lr;
  optimizer_.ema_decay = inputs_.ema_decay;
}

void TrainStep::run() {
  at::manual_seed(random_bits({config_.train.seed, RandomStream::kDropout},
                              static_cast<uint64_t>(step_), /*step=*/0));
  replay_.run([this] { run_as_it_is(); });
  lead_.mark();
}

void TrainStep::run_as_it_is() {
  parameters_.drop_grad();  // of a capture that failed
  saved_buffers_.copy_(parameters_.buffers());
  if (history_) {
    const WeightedTimesteps chosen = choose_timesteps(*history_, inputs_.t_draw);
    inputs_.t.copy_(chosen.t);
    t_weights_.copy_(chosen.weights);
  }
  {
    const TilesPass pass(weight_tiles_);
    for (int64_t i = 0; i < config_.train.accumulation; ++i) run_micro_batch(i);
  }
  update();
}

void TrainStep::run_micro_batch(int64_t index) {
  const LossInputs inputs = forward(index);
  const ImageLosses losses =
      training_losses(config_.loss, schedule_, config_.diffusion.prediction, loss_weights_, inputs);
  Tensor weighted = losses.objective;
  if (history_) {
    part(image_losses_, index).copy_(losses.objective.detach());
    weighted = weighted * part(t_weights_, index);
  }
  parameters_.begin_gather(/*is_first=*/index == 0);
  with_gradients_beside(weighted.device(), [&] { weighted.backward(part(d_objective_, index)); });
  parameters_.end_gather();
  add_losses(losses_,
             {.objective = weighted.detach(),
              .plain = losses.plain.detach(),
              .t = inputs.t,
              .correct = losses.correct},
             {.size = config_.train.batch_size, .num_timesteps = schedule_.num_timesteps()},
             /*is_first=*/index == 0);
}

void TrainStep::update() {
  const at::NoGradGuard no_grad;
  const Tensor grad_norm =
      adam_ema_step(optimizer_options(config_.optimizer), optimizer_, parameters_.master(),
                    parameters_.grad(), losses_.loss, parameters_.weights());
  if (parameters_.buffers().numel() > 0 || !power_emas_.empty() || history_) update_averages();
  add_step(statistics_, losses_, inputs_.step, grad_norm, optimizer_.nonfinite_in_a_row);
}

void TrainStep::update_averages() {
  const Tensor counts = optimizer_.nonfinite_in_a_row == 0;
  const Tensor& buffers = parameters_.buffers();
  buffers.copy_(at::where(counts, buffers, saved_buffers_));
  const Tensor share = at::where(counts, 1 - optimizer_.ema_decay, at::zeros_like(optimizer_.lr));
  ema_buffers_.lerp_(buffers, share.to(at::kFloat));
  for (PowerAverage& average : power_emas_) {
    const Tensor taken = 1 - power_ema_decay(average.gamma, inputs_.step + 1);
    const Tensor weight = at::where(counts, taken, at::zeros_like(taken)).to(at::kFloat);
    average.weights.lerp_(parameters_.master(), weight);
    average.buffers.lerp_(buffers, weight);
  }
  if (history_) add_to_history(*history_, inputs_.t, image_losses_, counts);
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

}  // namespace ddpm
