#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "ddpm/checkpoint/safetensors.h"
#include "ddpm/config/run_config.h"
#include "ddpm/core/captured_work.h"
#include "ddpm/core/host_lead.h"
#include "ddpm/core/tensor.h"
#include "ddpm/data/batch_loader.h"
#include "ddpm/diffusion/noise_schedule.h"
#include "ddpm/kernels/adam_ema.h"
#include "ddpm/kernels/q_sample_uint8.h"
#include "ddpm/kernels/weight_tiles_cache.h"
#include "ddpm/loss/training_loss.h"
#include "ddpm/training/flat_parameters.h"
#include "ddpm/training/loss_history.h"
#include "ddpm/training/step_inputs.h"
#include "ddpm/training/step_statistics.h"

namespace ddpm {

/// The training step [DDPM Alg. 1] and all that it changes: weights, optimizer, EMA, statistics.
///
/// A step is prepare(), which brings what the host knows into fixed buffers on the device, then
/// run(), which reads those buffers only, never waits for the device, and keeps all storage. So on
/// a GPU the whole of run() becomes one CUDA graph after a few steps, with the same bits
/// (train.capture, core/captured_work.h).
///
/// What is random about a sample comes from Philox (see StepInputs); dropout is seeded by (seed,
/// step) in LibTorch's default generators, and micro-batches draw one after another. So a step
/// depends on its number and on the state alone.
class TrainStep {
 public:
  /// @param config  resolved and valid.
  /// @param network on `device`, in float32, as initialised; in training mode from now on.
  /// @throws std::invalid_argument if accumulation does not divide batch_size.
  TrainStep(const RunConfig& config, std::shared_ptr<NetworkImpl> network, at::Device device);

  /// Waits until a GPU has all but the last step done.
  ///
  /// @param batch config.train.batch_size images.
  /// @param step  the step's number, from 0.
  void prepare(const Batch& batch, int64_t step);
  void run();
  /// True once steps are replays of a graph.
  bool is_captured() const { return replay_.is_captured(); }

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
  /// moments as "exp_avg.NAME" and "exp_avg_sq.NAME", with the device's counters and sums; the
  /// average of ema.power_stds[i] as "power_ema.i.NAME".
  NamedTensors weights_state() const;
  NamedTensors ema_state() const;
  NamedTensors optimizer_state();
  /// The state dict with the average of ema.power_stds[index].
  NamedTensors power_ema_state(size_t index) const;
  /// The reverse: all three, bit for bit.
  /// @throws std::invalid_argument that names a tensor which is missing, unknown or of another
  ///         shape.
  void load(const NamedTensors& weights, const NamedTensors& ema, const NamedTensors& optimizer);

 private:
  /// A power-function average; in fixed storage.
  struct PowerAverage {
    double gamma;
    Tensor weights;  ///< [n] float32
    Tensor buffers;  ///< [b] float32
  };

  Tensor part(const Tensor& batch, int64_t index) const;  ///< of a micro-batch; keeps undefined
  LossInputs forward(int64_t index);
  NoisedBatch noised_images(int64_t index, at::ScalarType x_t_dtype) const;
  NetworkLabels network_labels(int64_t index) const;
  /// The network's input: x_t, and what else it sees of an image.
  Tensor network_input(const Tensor& x_t, const Tensor& t, const Tensor& x_start,
                       const NetworkLabels& labels);
  Tensor draw_guess(const Tensor& x_t, const Tensor& t, const Tensor& low_resolution,
                    const NetworkLabels& labels);
  void run_as_it_is();
  void run_micro_batch(int64_t index);
  void update();
  void update_averages();  ///< and the history: all that a skipped step must leave as it was
  template <typename Visitor>
  void visit_device_state(Visitor&& visit);

  RunConfig config_;
  std::shared_ptr<NetworkImpl> network_;
  NoiseSchedule schedule_;
  Tensor loss_weights_;                   ///< [T] float32; undefined: all 1
  Tensor sqrt_alphas_cumprod_;            ///< [T] float32
  Tensor sqrt_one_minus_alphas_cumprod_;  ///< [T] float32
  FlatParameters parameters_;
  WeightTilesCache weight_tiles_;  ///< of parameters_.weights()
  AdamEmaState optimizer_;
  std::vector<PowerAverage> power_emas_;  ///< one for each of ema.power_stds
  Tensor ema_buffers_;                    ///< [b] float32, moving average of the running statistics
  Tensor saved_buffers_;                  ///< [b] float32, the running statistics before the step
  StepStatistics statistics_;
  StepLosses losses_;
  Tensor d_objective_;  ///< [N] float32, 1 / N: the gradient of a mean
  StepInputs inputs_;
  std::optional<LossHistory> history_;  ///< with loss_aware, as the two below
  Tensor t_weights_;                    ///< [N] float32, of the losses of inputs_.t
  Tensor image_losses_;                 ///< [N] float32, not weighted by t_weights_
  double lr_ = 0;
  double ema_decay_ = 0;
  int64_t step_ = 0;
  HostLead lead_;
  CapturedWork replay_;  // last: its graph uses everything above
};

}  // namespace ddpm
