#pragma once

#include "ddpm/config/train_config.h"
#include "ddpm/core/tensor.h"
#include "ddpm/diffusion/noise_schedule.h"

namespace ddpm {

/// A micro-batch after the network has answered.
struct LossInputs {
  Tensor x_start;      ///< [N, C, H, W] float32.
  Tensor x_t;          ///< [N, C, H, W] what the bound reads: float32 where the loss has one.
  Tensor t;            ///< [N] int64.
  Tensor noise;        ///< [N, C, H, W] float32: what the target is made of.
  Tensor output;       ///< [N, C, H, W], or [N, 2C, H, W] with a learned variance; any float dtype.
                       ///< Of a classifier [N, K] logits.
  Tensor labels = {};  ///< [N] int64 the images' classes; only cross_entropy reads them.
};

/// Of each image; [N].
struct ImageLosses {
  Tensor objective;     ///< float32. What training lowers.
  Tensor plain;         ///< float32. The same unweighted (hybrid: its l2): to be shown.
  Tensor correct = {};  ///< bool. Whether the classifier is right; cross_entropy alone has it.
};

/// The loss of each image:
///
///     l1, l2, huber: w_t loss_per_image(output, training_target)
///     vlb:           vlb_term                          [DDPM Eq. 5; bits per dimension]
///     rescaled_kl:   T vlb_term: the whole bound, estimated from one timestep
///     hybrid:        w_t l2 + vlb_weight T vlb_term    [IDDPM Eq. 16]
///     cross_entropy: cross_entropy(output, labels)
///
/// where w_t is `weights` at t. In hybrid the bound trains the variance alone: the mean in it is
/// detached. Free of host synchronisation.
///
/// @param weights [T] float32, from loss_weight_table; undefined: all 1.
/// @throws std::invalid_argument if the output's channels don't fit schedule.variance.
ImageLosses training_losses(const LossConfig& config, const NoiseSchedule& schedule,
                            PredictionType prediction, const Tensor& weights,
                            const LossInputs& inputs);

}  // namespace ddpm
