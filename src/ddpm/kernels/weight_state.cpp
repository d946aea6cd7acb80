#include "ddpm/kernels/weight_state.h"

#include <ATen/core/Tensor.h>

#include <cstddef>

namespace ddpm {

WeightState::WeightState(const std::vector<Tensor>& weights) {
  for (const Tensor& weight : weights) {
    weights_.push_back(weight.detach());
    versions_.push_back(static_cast<int64_t>(weight._version()));
  }
}

bool WeightState::is_of(const std::vector<Tensor>& weights) const {
  if (weights_.empty() || weights.size() != weights_.size()) return false;
  for (size_t i = 0; i < weights.size(); ++i) {
    if (weights[i].const_data_ptr() != weights_[i].const_data_ptr() ||
        weights[i].scalar_type() != weights_[i].scalar_type() ||
        static_cast<int64_t>(weights[i]._version()) != versions_[i]) {
      return false;
    }
  }
  return true;
}

}  // namespace ddpm
