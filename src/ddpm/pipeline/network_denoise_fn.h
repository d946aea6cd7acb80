#pragma once

#include <memory>

#include "ddpm/core/tensor.h"
#include "ddpm/model/network.h"
#include "ddpm/sampling/denoise_fn.h"

namespace ddpm {

/// The network as samplers see it: x_t is rounded to the network's dtype on its way in.
///
/// @param network      in eval mode; its weights are read at each call, so they may change between.
/// @param dtype        of the weights: kFloat or kBFloat16.
/// @param class_labels one for each image of the batches to come; undefined without classes.
DenoiseFn network_denoise_fn(std::shared_ptr<NetworkImpl> network, at::ScalarType dtype,
                             const Tensor& class_labels = {});

}  // namespace ddpm
