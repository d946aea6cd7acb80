#include "ddpm/model/network.h"

#include <ATen/ATen.h>

#include <stdexcept>

#include "ddpm/core/check.h"
#include "ddpm/model/check_model_config.h"
#include "ddpm/model/classifier.h"
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

void check_network_input(const char* name, const Tensor& x, const Tensor& t, int64_t channels,
                         int64_t factor) {
  check_arg(x.dim() == 4 && x.size(1) == channels, "[", name, "] x does not fit: expected [N, ",
            channels, ", H, W], got ", x.sizes());
  check_arg(x.size(2) % factor == 0 && x.size(3) % factor == 0, "[", name,
            "] height and width must survive the downsampling: expected multiples of ", factor,
            ", got ", x.size(2), " x ", x.size(3));
  check_arg(t.dim() == 1 && t.size(0) == x.size(0), "[", name,
            "] t must hold one timestep an image: expected [", x.size(0), "], got ", t.sizes());
}

std::shared_ptr<NetworkImpl> make_network(const ModelConfig& config) {
  check_model_config(config);
  switch (config.kind) {
    case ModelKind::kUNet2D:
      return std::make_shared<UNet2DImpl>(config.unet2d);
    case ModelKind::kSimpleUnet:
      return std::make_shared<SimpleUnetImpl>(config.simple_unet);
    case ModelKind::kClassifier:
      return std::make_shared<ClassifierImpl>(config.classifier);
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
