#pragma once

#include <cstdint>
#include <vector>

#include "ddpm/core/tensor.h"

namespace ddpm {

/// What weights hold at some time: their memory, which is kept so that nothing else can take its
/// place, and LibTorch's count of what was written there. What was made of them then is of use as
/// long as they hold the same.
class WeightState {
 public:
  /// Of no weights.
  WeightState() = default;
  explicit WeightState(const std::vector<Tensor>& weights);

  /// True if these weights hold what they held then. Whoever changes a weight in place or gives it
  /// other storage makes this false.
  bool is_of(const std::vector<Tensor>& weights) const;
  /// The weights themselves, without gradients.
  const std::vector<Tensor>& weights() const { return weights_; }

 private:
  std::vector<Tensor> weights_;
  std::vector<int64_t> versions_;
};

}  // namespace ddpm
