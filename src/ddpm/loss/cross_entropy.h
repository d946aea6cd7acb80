#pragma once

#include "ddpm/core/tensor.h"

namespace ddpm {

/// -log softmax(logits)_label of each image, in nats and float32. Differentiable, and free of host
/// synchronisation.
///
/// @param logits [N, K] any floating dtype.
/// @param labels [N] int64, 0 <= label < K, on the logits' device.
/// @return       [N] float32.
/// @throws std::invalid_argument if the shapes don't agree.
Tensor cross_entropy(const Tensor& logits, const Tensor& labels);

/// Whether the largest logit is that of the label.
/// @return [N] bool.
Tensor is_top_class(const Tensor& logits, const Tensor& labels);

}  // namespace ddpm
