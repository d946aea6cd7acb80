#include "ddpm/pipeline/network_denoise_fn.h"

#include <ATen/ATen.h>

#include <utility>

#include "ddpm/core/check.h"
#include "ddpm/diffusion/prediction.h"

namespace ddpm {

DenoiseFn network_denoise_fn(std::shared_ptr<NetworkImpl> network, at::ScalarType dtype,
                             const Tensor& class_labels,
                             std::optional<SelfConditioning> self_conditioning) {
  const auto answer = [network = std::move(network), dtype, class_labels](const Tensor& x,
                                                                          const Tensor& t) {
    const auto like_weights =
        x.options().dtype(dtype).memory_format(at::MemoryFormat::ChannelsLast);
    return network->forward(x.to(like_weights), t, class_labels);
  };
  if (!self_conditioning) return answer;
  return [answer, how = *self_conditioning, guess = Tensor()](const Tensor& x_t,
                                                              const Tensor& t) mutable {
    check_arg(
        t.scalar_type() == at::kLong,
        "[network_denoise_fn] a self-conditioned network needs a sampler of whole timesteps: ",
        "expected Long, got ", t.scalar_type());
    if (!guess.defined()) guess = at::zeros_like(x_t);
    const Tensor output = answer(at::cat({x_t, guess}, /*dim=*/1), t);
    guess = self_condition(how.schedule, how.prediction, x_t, t, output);
    return output;
  };
}

}  // namespace ddpm
