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
/// @throws std::invalid_argument if the shapes differ, or config.kind is not one of these.
Tensor loss_per_image(const LossConfig& config, const Tensor& prediction, const Tensor& target);

/// The weight of every timestep, relative to the plain loss of that prediction. A weighting is
/// named by the weight W that it gives to the squared error of x_start, with g = min_snr_gamma:
///
///     min_snr:       min(SNR, g)                       [Hang et al., min-SNR]
///     soft_min_snr:  SNR g / (SNR + g)                 [Crowson et al., hourglass]
///     p2:            SNR / (p2_k + SNR)^p2_gamma       [Choi et al., P2]
///     snr, truncated_snr, snr_plus_one:  SNR, max(SNR, 1), SNR + 1    [Salimans & Ho, Sec. 4]
///     constant:      1
///
/// A plain squared error of epsilon, sample, v_prediction and edm gives that error the weight SNR,
/// 1, SNR + 1 and SNR + 1 / sigma_data^2 (EDM's lambda), and the result is W over that; for none 1.
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
