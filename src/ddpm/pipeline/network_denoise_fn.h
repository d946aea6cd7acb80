#pragma once

#include <memory>
#include <optional>

#include "ddpm/core/tensor.h"
#include "ddpm/diffusion/noise_schedule.h"
#include "ddpm/model/network.h"
#include "ddpm/sampling/denoise_fn.h"

namespace ddpm {

/// What turns a network's outputs into guesses of x_start.
struct SelfConditioning {
  NoiseSchedule schedule;  ///< On the network's device.
  PredictionType prediction = PredictionType::kEpsilon;
};

/// The network as samplers see it: x_t is rounded to the network's dtype on its way in.
///
/// @param network      in eval mode; its weights are read at each call, so they may change between.
/// @param dtype        of the weights: kFloat or kBFloat16.
/// @param class_labels one for each image of the batches to come; undefined without classes.
/// @param self_conditioning of a network that was trained with it: each call also gives the
///                     network self_condition of the call before, zeros at first. The function then
///                     remembers, so it serves the calls of one batch, and throws
///                     std::invalid_argument for fractional timesteps.
DenoiseFn network_denoise_fn(std::shared_ptr<NetworkImpl> network, at::ScalarType dtype,
                             const Tensor& class_labels = {},
                             std::optional<SelfConditioning> self_conditioning = std::nullopt);

}  // namespace ddpm
