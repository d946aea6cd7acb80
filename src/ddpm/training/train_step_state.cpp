#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <map>
#include <string>
#include <utility>

#include "ddpm/core/check.h"
#include "ddpm/training/train_step.h"

namespace ddpm {
namespace {

constexpr const char* kFirstMoment = "exp_avg.";
constexpr const char* kSecondMoment = "exp_avg_sq.";

std::string power_ema_prefix(size_t index) { return "power_ema." + std::to_string(index) + "."; }

// Moves the tensors whose names start with `prefix` out of `tensors`, without the prefix.
NamedTensors take_prefixed(std::map<std::string, Tensor>& tensors, const std::string& prefix) {
  NamedTensors taken;
  std::erase_if(tensors, [&](const auto& item) {
    const bool has_prefix = item.first.starts_with(prefix);
    if (has_prefix) taken.emplace_back(item.first.substr(prefix.size()), item.second);
    return has_prefix;
  });
  return taken;
}

}  // namespace

template <typename Visitor>
void TrainStep::visit_device_state(Visitor&& visit) {
  visit("optimizer.step", optimizer_.step);
  visit("optimizer.nonfinite_total", optimizer_.nonfinite_total);
  visit("optimizer.nonfinite_in_a_row", optimizer_.nonfinite_in_a_row);
  statistics_.visit_tensors(
      [&](const std::string& name, Tensor& tensor) { visit("statistics." + name, tensor); });
  if (!history_) return;
  history_->visit_tensors(
      [&](const std::string& name, Tensor& tensor) { visit("loss_history." + name, tensor); });
}

NamedTensors TrainStep::weights_state() const {
  return parameters_.named_state(parameters_.master(), parameters_.buffers());
}

NamedTensors TrainStep::ema_state() const {
  return parameters_.named_state(optimizer_.ema, ema_buffers_);
}

NamedTensors TrainStep::power_ema_state(size_t index) const {
  const PowerAverage& average = power_emas_.at(index);
  return parameters_.named_state(average.weights, average.buffers);
}

NamedTensors TrainStep::optimizer_state() {
  NamedTensors state;
  for (const auto& [name, tensor] : parameters_.named_parameters(optimizer_.m)) {
    state.emplace_back(kFirstMoment + name, tensor);
  }
  for (const auto& [name, tensor] : parameters_.named_parameters(optimizer_.v)) {
    state.emplace_back(kSecondMoment + name, tensor);
  }
  for (size_t i = 0; i < power_emas_.size(); ++i) {
    for (const auto& [name, tensor] : power_ema_state(i)) {
      state.emplace_back(power_ema_prefix(i) + name, tensor);
    }
  }
  visit_device_state(
      [&](const std::string& name, Tensor& tensor) { state.emplace_back(name, tensor.clone()); });
  return state;
}

void TrainStep::load(const NamedTensors& weights, const NamedTensors& ema,
                     const NamedTensors& optimizer) {
  const at::NoGradGuard no_grad;
  std::map<std::string, Tensor> rest(optimizer.begin(), optimizer.end());
  const NamedTensors first = take_prefixed(rest, kFirstMoment);
  const NamedTensors second = take_prefixed(rest, kSecondMoment);
  for (size_t i = 0; i < power_emas_.size(); ++i) {
    parameters_.assign_state(take_prefixed(rest, power_ema_prefix(i)), power_emas_[i].weights,
                             power_emas_[i].buffers);
  }
  parameters_.assign_state(ema, optimizer_.ema, ema_buffers_);
  parameters_.assign_state(weights, parameters_.master(), parameters_.buffers());
  parameters_.assign_parameters(first, optimizer_.m);
  parameters_.assign_parameters(second, optimizer_.v);
  visit_device_state([&](const std::string& name, Tensor& tensor) {
    const auto found = rest.find(name);
    check_arg(found != rest.end() && found->second.sizes() == tensor.sizes(),
              "[TrainStep] the optimizer's state must hold '", name, "' of shape ", tensor.sizes());
    tensor.copy_(found->second);
    rest.erase(found);
  });
  check_arg(rest.empty(), "[TrainStep] the optimizer's state has an unknown tensor '",
            rest.empty() ? "" : rest.begin()->first, "'");
  parameters_.refresh_weights();
}

}  // namespace ddpm
