#pragma once

#include <cstdint>

#include "ddpm/config/run_config.h"
#include "ddpm/core/device_upload.h"
#include "ddpm/core/tensor.h"
#include "ddpm/data/batch_loader.h"

namespace ddpm {

/// What the host knows of a training step, in buffers on the device that keep their storage from
/// the first fill_step_inputs on.
///
/// Sample k of the run (k = step * batch_size + i) draws from Philox keyed by (seed, stream, k):
/// its timestep, its noise, whether its label is dropped, how it is augmented.
struct StepInputs {
  Tensor images;          ///< [N, C, H, W] uint8
  Tensor labels;          ///< [N] int64, some of them the null class with train.class_dropout
  Tensor flip;            ///< [N] bool
  Tensor noise;           ///< [N, C, H, W] float32: what targets are made of
  Tensor warp;            ///< [N, 2, 3] float32 for warp_images; undefined without augmentation
  Tensor augment_labels;  ///< [N, augment_dim] float32, what the network is told of it; likewise
  Tensor input_noise;     ///< like noise: what x_t is made of; undefined without input_perturbation
  Tensor t;               ///< [N] int64; with loss_aware the step writes it
  Tensor t_draw;          ///< [N] float64 uniform in [0, 1); defined for loss_aware alone
  Tensor step;            ///< [] int64
  Tensor lr;              ///< [] float64, the step's learning rate
  Tensor ema_decay;       ///< [] float64, of the step's average
  Tensor log_sigmas;      ///< [T] float64 on the CPU, ascending; defined for log_normal alone
  DeviceUpload upload{at::kCPU};  ///< what fills them
};

/// Without the buffers that the first fill_step_inputs makes.
StepInputs make_step_inputs(const RunConfig& config, at::Device device);

/// Fills the buffers for a step. On a GPU what it computes is not waited for: the values are on
/// their way beside it (core/device_upload.h).
///
///     noise       = z + offset_noise * z_channel        (z_channel is one number a channel)
///     input_noise = noise + input_perturbation * z'     [Ning et al. 2023]
///
/// Both are channels_last.
///
/// @param batch config.train.batch_size images.
/// @param step  the step's number, from 0.
/// @throws std::invalid_argument if the batch has another size.
void fill_step_inputs(const RunConfig& config, const Batch& batch, int64_t step,
                      StepInputs& inputs);

/// The timesteps of a step's batch: uniform in [0, T); or stratified, one from each of batch_size
/// equal parts of [0, T), in a shuffled order.
///
/// @return [batch_size] int64 on the CPU.
Tensor draw_timesteps(const RunConfig& config, int64_t step);

/// log(sigma) = log((1 - alpha_bar) / alpha_bar) / 2 of every timestep.
/// @return [T] float64 on the CPU.
Tensor log_sigma_table(const DiffusionConfig& config);

/// Timesteps for log_normal: those whose log(sigma) is nearest to draws of N(log_sigma_mean,
/// log_sigma_std^2) [EDM Tab. 1].
///
/// @param log_sigmas of log_sigma_table.
/// @return           [batch_size] int64 on the CPU.
Tensor draw_log_normal_timesteps(const RunConfig& config, int64_t step, const Tensor& log_sigmas);

}  // namespace ddpm
