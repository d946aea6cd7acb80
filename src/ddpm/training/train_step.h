#pragma once

#include <cstdint>
#include <memory>

#include "ddpm/checkpoint/safetensors.h"
#include "ddpm/config/run_config.h"
#include "ddpm/core/tensor.h"
#include "ddpm/data/batch_loader.h"
#include "ddpm/diffusion/noise_schedule.h"
#include "ddpm/kernels/adam_ema.h"
#include "ddpm/training/flat_parameters.h"
#include "ddpm/training/step_statistics.h"

namespace ddpm {

/// The training step [DDPM Alg. 1] and all that it changes: weights, optimizer, EMA, statistics.
///
/// A step is prepare(), which brings what the host knows into fixed buffers on the device, then
/// run(), which reads those buffers only, never waits for the device, and keeps all storage, so
/// that a whole step can be captured in a graph.
///
/// Sample k of the run (k = step * batch_size + i) draws its timestep and its noise from Philox
/// (seed, stream, k); dropout is seeded by (seed, step, micro-batch) in LibTorch's default
/// generators. So a step depends on the weights and its number alone.
class TrainStep {
 public:
  /// @param config  resolved and valid.
  /// @param network on `device`, in float32, as initialised; in training mode from now on.
  /// @throws std::invalid_argument if accumulation does not divide batch_size.
  TrainStep(const RunConfig& config, std::shared_ptr<NetworkImpl> network, at::Device device);

  /// @param batch config.train.batch_size images.
  /// @param step  the step's number, from 0.
  void prepare(const Batch& batch, int64_t step);
  void run();

  /// The network computes with the EMA, in eval mode, until use_trained().
  void use_ema();
  void use_trained();

  /// Learning rate and EMA decay of the prepared step.
  double lr() const { return lr_; }
  double ema_decay() const { return ema_decay_; }

  const NoiseSchedule& schedule() const { return schedule_; }  ///< on the device
  StepStatistics& statistics() { return statistics_; }
  const AdamEmaState& optimizer() const { return optimizer_; }

  /// The state as named tensors, copied: the network's state dict with the weights or the EMA; the
  /// moments as "exp_avg.NAME" and "exp_avg_sq.NAME", with the device's counters and sums.
  NamedTensors weights_state() const;
  NamedTensors ema_state() const;
  NamedTensors optimizer_state();
  /// The reverse: all three, bit for bit.
  /// @throws std::invalid_argument that names a tensor which is missing, unknown or of another
  ///         shape.
  void load(const NamedTensors& weights, const NamedTensors& ema, const NamedTensors& optimizer);

 private:
  /// What run() reads, besides the state; all on the device.
  struct Inputs {
    Tensor images, labels, flip, t, noise;
    Tensor step;  ///< [] int64
  };

  void run_micro_batch(int64_t index);
  void update();
  template <typename Visitor>
  void visit_device_state(Visitor&& visit);

  RunConfig config_;
  std::shared_ptr<NetworkImpl> network_;
  at::Device device_;
  NoiseSchedule schedule_;
  Tensor loss_weights_;                   ///< [T] float32; undefined: all 1
  Tensor sqrt_alphas_cumprod_;            ///< [T] float32
  Tensor sqrt_one_minus_alphas_cumprod_;  ///< [T] float32
  FlatParameters parameters_;
  AdamEmaState optimizer_;
  Tensor ema_buffers_;    ///< [b] float32, moving average of the running statistics
  Tensor saved_buffers_;  ///< [b] float32, the running statistics before the step
  StepStatistics statistics_;
  StepLosses losses_;
  Inputs inputs_;
  double lr_ = 0;
  double ema_decay_ = 0;
  int64_t step_ = 0;
};

}  // namespace ddpm
