#include "ddpm/model/time_projections.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include "ddpm/kernels/linear.h"

namespace ddpm {

std::vector<Tensor> TimeProjections::weights() const {
  std::vector<Tensor> weights;
  for (const ResnetBlock& block : blocks_) weights.push_back(block->time_projection().weight());
  return weights;
}

Tensor TimeProjections::bias() const {
  std::vector<Tensor> biases, of_convolutions;
  for (const ResnetBlock& block : blocks_) {
    biases.push_back(block->time_projection().bias());
    if (block->added_to_time().defined()) of_convolutions.push_back(block->added_to_time());
  }
  const Tensor bias = at::cat(biases);
  return of_convolutions.empty() ? bias : bias + at::cat(of_convolutions);
}

Tensor TimeProjections::rows_of(const Tensor& e) const {
  const std::vector<Tensor> all = weights();
  const bool is_packed = !at::GradMode::is_enabled() && packed_.is_of(all);
  return is_packed ? packed_linear(e, packed_, packed_bias_, /*residual=*/{})
                   : linear({.x = e, .weight = at::cat(all), .bias = bias()});
}

TimeRows TimeProjections::split(const Tensor& rows) const {
  std::vector<int64_t> channels;
  for (const Tensor& weight : weights()) channels.push_back(weight.size(0));
  return TimeRows(rows.split_with_sizes(channels, /*dim=*/1));
}

std::vector<Tensor> TimeProjections::parameters() const {
  std::vector<Tensor> all;
  for (const ResnetBlock& block : blocks_) {
    all.push_back(block->time_projection().weight());
    all.push_back(block->time_projection().bias());
    if (block->added_to_time().defined()) all.push_back(block->added_to_time());
  }
  return all;
}

void TimeProjections::prepare_for_sampling() {
  packed_ = PackedWeight::of_linear(weights());
  packed_bias_ = bias().detach();
}

}  // namespace ddpm
