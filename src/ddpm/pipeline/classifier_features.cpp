#include "ddpm/pipeline/classifier_features.h"

#include <ATen/ATen.h>

#include "ddpm/core/check.h"
#include "ddpm/model/classifier.h"

namespace ddpm {

std::function<Tensor(const Tensor& images)> classifier_features(const Pipeline& classifier) {
  const auto network = std::dynamic_pointer_cast<ClassifierImpl>(classifier.network);
  check_arg(network != nullptr, "[classifier_features] expected a classifier, got a model of kind ",
            enum_word(classifier.folder.model.kind));
  const at::ScalarType dtype = network->parameters().front().scalar_type();
  return [network, dtype](const Tensor& images) {
    const auto like_weights =
        images.options().dtype(dtype).memory_format(at::MemoryFormat::ChannelsLast);
    const Tensor t = at::zeros({images.size(0)}, images.options().dtype(at::kLong));
    return network->features(images.to(like_weights), t);
  };
}

}  // namespace ddpm
