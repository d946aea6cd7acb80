#pragma once

#include "ddpm/config/train_config.h"
#include "ddpm/core/tensor.h"
#include "ddpm/diffusion/noise_schedule.h"

namespace ddpm {

/// The mean over each image's elements of the distance d(prediction - target), in float32:
///
///     l1: |r|      l2: r^2      huber: r^2 / 2 up to huber_delta, then delta (|r| - delta / 2)
///
/// Differentiable, and free of host synchronisation.
///
/// @param prediction [N, ...] any floating dtype: the network's output.
/// @param target     like prediction (its dtype may differ), from training_target.
/// @return           [N] float32.
/// @throws std::invalid_argument if the shapes differ.
Tensor loss_per_image(const LossConfig& config, const Tensor& prediction, const Tensor& target);

/// The weight of every timestep [Hang et al., "Efficient diffusion training via min-SNR
/// weighting"], relative to the plain loss of that prediction:
///
///     none: 1      min_snr: epsilon min(SNR, g) / SNR, sample min(SNR, g),
///                           v_prediction min(SNR, g) / (SNR + 1), with g = min_snr_gamma
///
/// @return [T] float32 on the schedule's device. Made once a run.
Tensor loss_weight_table(const LossConfig& config, PredictionType prediction,
                         const NoiseSchedule& schedule);

/// loss_weight_table at `t`.
///
/// @param t [N] int64, 0 <= t < T, on the schedule's device.
/// @return  [N] float32.
Tensor loss_weight(const LossConfig& config, PredictionType prediction,
                   const NoiseSchedule& schedule, const Tensor& t);

}  // namespace ddpm
