#include "ddpm/pipeline/network_denoise_fn.h"

#include <ATen/ATen.h>

#include <utility>

namespace ddpm {

DenoiseFn network_denoise_fn(std::shared_ptr<NetworkImpl> network, at::ScalarType dtype,
                             const Tensor& class_labels) {
  return [network = std::move(network), dtype, class_labels](const Tensor& x_t, const Tensor& t) {
    const auto like_weights =
        x_t.options().dtype(dtype).memory_format(at::MemoryFormat::ChannelsLast);
    return network->forward(x_t.to(like_weights), t, class_labels);
  };
}

}  // namespace ddpm
