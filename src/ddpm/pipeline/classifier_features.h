#pragma once

#include <functional>

#include "ddpm/pipeline/pipeline.h"

namespace ddpm {

/// What a classifier sees in images without noise: its features at t = 0, the numbers that its
/// logits are a linear function of.
///
/// @return features(images): [N, C, H, W] float32 in [-1, 1] on the classifier's device to
///         [N, num_features] of the weights' dtype.
/// @throws std::invalid_argument if the model is no classifier.
std::function<Tensor(const Tensor& images)> classifier_features(const Pipeline& classifier);

}  // namespace ddpm
