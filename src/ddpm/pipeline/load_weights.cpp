#include "ddpm/pipeline/load_weights.h"

#include <torch/csrc/autograd/grad_mode.h>

#include <map>

#include "ddpm/core/check.h"
#include "ddpm/model/network.h"

namespace ddpm {

void load_weights(NetworkImpl& network, const NamedTensors& weights, const std::string& source) {
  std::map<std::string, Tensor> targets;
  for (const auto& item : network.named_parameters()) targets.emplace(item.key(), item.value());
  for (const auto& item : network.named_buffers()) targets.emplace(item.key(), item.value());

  const at::NoGradGuard no_grad;
  for (const auto& [name, value] : weights) {
    const auto target = targets.find(name);
    check_arg(target != targets.end(), "[", source, "] unknown weight '", name,
              "': expected the names of the configured network");
    check_arg(target->second.sizes() == value.sizes(), "[", source, "] weight '", name,
              "': expected shape ", target->second.sizes(), ", got ", value.sizes());
    target->second.copy_(value);
    targets.erase(target);
  }
  check_arg(targets.empty(), "[", source, "] missing weight '",
            targets.empty() ? std::string() : targets.begin()->first, "' and ",
            targets.empty() ? 0 : targets.size() - 1, " more");
}

}  // namespace ddpm
