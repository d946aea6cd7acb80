#include "ddpm/model/network.h"

#include <ATen/ATen.h>

#include <stdexcept>

#include "ddpm/core/check.h"
#include "ddpm/model/check_model_config.h"
#include "ddpm/model/layers.h"
#include "ddpm/model/simple_unet.h"
#include "ddpm/model/unet2d.h"

namespace ddpm {
namespace {

/// Initialises the layers of `module` in state-dict order; returns the number of the next tensor.
uint64_t initialize_layers(torch::nn::Module& module, uint64_t seed, uint64_t next_tensor) {
  if (auto* layer = module.as<LayerImpl>()) layer->initialize(seed, next_tensor);
  next_tensor += module.parameters(/*recurse=*/false).size();
  next_tensor += module.buffers(/*recurse=*/false).size();
  for (const auto& child : module.children()) {
    next_tensor = initialize_layers(*child, seed, next_tensor);
  }
  return next_tensor;
}

}  // namespace

std::shared_ptr<NetworkImpl> make_network(const ModelConfig& config) {
  check_model_config(config);
  switch (config.kind) {
    case ModelKind::kUNet2D:
      return std::make_shared<UNet2DImpl>(config.unet2d);
    case ModelKind::kSimpleUnet:
      return std::make_shared<SimpleUnetImpl>(config.simple_unet);
  }
  throw std::logic_error("[make_network] not a ModelKind");
}

int64_t count_parameters(const NetworkImpl& network) {
  int64_t count = 0;
  for (const Tensor& parameter : network.parameters()) count += parameter.numel();
  return count;
}

void initialize(NetworkImpl& network, uint64_t seed) {
  initialize_layers(network, seed, /*next_tensor=*/0);
}

}  // namespace ddpm
