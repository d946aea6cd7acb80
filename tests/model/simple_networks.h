#pragma once

#include <memory>

#include "ddpm/config/model_config.h"
#include "ddpm/model/network.h"

namespace ddpm::testing {

/// A SimpleUnet, built and initialised.
inline std::shared_ptr<NetworkImpl> simple_network(const SimpleUnetConfig& config) {
  ModelConfig model;
  model.kind = ModelKind::kSimpleUnet;
  model.simple_unet = config;
  auto network = make_network(model);
  initialize(*network, /*seed=*/1);
  return network;
}

}  // namespace ddpm::testing
