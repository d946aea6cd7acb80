#include "ddpm/model/state_dict.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <map>

#include "ddpm/core/check.h"

namespace ddpm {
namespace {

void collect(const torch::nn::Module& module, const std::string& prefix, NamedTensors& found) {
  for (const auto& parameter : module.named_parameters(/*recurse=*/false)) {
    found.emplace_back(prefix + parameter.key(), parameter.value());
  }
  for (const auto& buffer : module.named_buffers(/*recurse=*/false)) {
    found.emplace_back(prefix + buffer.key(), buffer.value());
  }
  for (const auto& child : module.named_children()) {
    collect(*child.value(), prefix + child.key() + ".", found);
  }
}

}  // namespace

NamedTensors state_dict(const torch::nn::Module& module) {
  NamedTensors found;
  collect(module, "", found);
  return found;
}

void check_state_dict(const torch::nn::Module& module, const NamedTensors& tensors,
                      const std::string& where) {
  std::map<std::string, Tensor> given;
  for (const auto& [name, tensor] : tensors) {
    check_arg(given.emplace(name, tensor).second, "[", where, "] tensor is there twice: expected '",
              name, "' once, got two");
  }
  const NamedTensors own = state_dict(module);
  for (const auto& [name, tensor] : own) {
    const auto found = given.find(name);
    check_arg(found != given.end(), "[", where, "] tensor is missing: expected '", name, "' of ",
              tensor.sizes(), ", got none");
    check_arg(found->second.sizes() == tensor.sizes(), "[", where, "] tensor '", name,
              "' has a wrong shape: expected ", tensor.sizes(), ", got ", found->second.sizes());
    given.erase(found);
  }
  check_arg(given.empty(), "[", where, "] unknown tensor: expected ", own.size(),
            " tensors of this network, got '", given.empty() ? "" : given.begin()->first, "' too");
}

void load_state_dict(torch::nn::Module& module, const NamedTensors& tensors,
                     const std::string& where) {
  check_state_dict(module, tensors, where);
  std::map<std::string, Tensor> own;
  for (const auto& [name, tensor] : state_dict(module)) own.emplace(name, tensor);
  const at::NoGradGuard no_grad;
  for (const auto& [name, tensor] : tensors) own.at(name).copy_(tensor);
}

}  // namespace ddpm
