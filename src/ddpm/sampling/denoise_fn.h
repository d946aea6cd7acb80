#pragma once

#include <functional>

#include "ddpm/core/tensor.h"

namespace ddpm {

/// output = denoise(x_t, t): the network as a sampler sees it; class labels are bound by the
/// caller. x_t [N, C, H, W] float32, t [N] int64, or float32 for a plan with fractional timesteps,
/// both on one device. The output is like x_t ([N, 2 C, H, W] with a learned variance), in any
/// floating dtype; what it means is the sampler's PredictionType.
using DenoiseFn = std::function<Tensor(const Tensor& x_t, const Tensor& t)>;

/// A DenoiseFn for class labels that may differ from call to call: [N] int64 on x_t's device,
/// undefined for a network without classes.
using LabelledDenoiseFn =
    std::function<Tensor(const Tensor& x_t, const Tensor& t, const Tensor& class_labels)>;

}  // namespace ddpm
