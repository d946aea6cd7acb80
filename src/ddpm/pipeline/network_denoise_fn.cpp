#include "ddpm/pipeline/network_denoise_fn.h"

#include <ATen/ATen.h>

#include "ddpm/core/check.h"
#include "ddpm/diffusion/edm.h"
#include "ddpm/diffusion/prediction.h"
#include "ddpm/sampling/classifier_guidance.h"

namespace ddpm {
namespace {

Tensor with_low_resolution(const Tensor& x, const Tensor& low_resolution) {
  if (!low_resolution.defined()) return x;
  const int64_t times = x.size(0) / low_resolution.size(0);
  check_arg(times * low_resolution.size(0) == x.size(0),
            "[network_denoise_fn] low_resolution: expected a batch of a multiple of ",
            low_resolution.size(0), " images, got ", x.size(0));
  return at::cat({x, low_resolution.repeat({times, 1, 1, 1})}, /*dim=*/1);
}

/// The network's answer, a pure function. x holds a guess's channels where the network sees one.
LabelledDenoiseFn answer_of(const std::shared_ptr<NetworkImpl>& network, const NetworkView& view,
                            at::ScalarType dtype) {
  const auto answer = [network, dtype, low_resolution = view.low_resolution](
                          const Tensor& x, const Tensor& t, const Tensor& class_labels) {
    const auto like_weights =
        x.options().dtype(dtype).memory_format(at::MemoryFormat::ChannelsLast);
    return network->forward(with_low_resolution(x, low_resolution).to(like_weights), t,
                            {.class_labels = class_labels});
  };
  if (view.prediction != PredictionType::kEdm) return answer;
  return [answer, schedule = view.schedule](const Tensor& x_t, const Tensor& t,
                                            const Tensor& class_labels) {
    const EdmInput input = edm_input(schedule.sigma_data, x_t, alpha_bars_at(schedule, t));
    return answer(input.x, input.c_noise, class_labels);
  };
}

LabelledDenoiseFn captured_if_asked(const LabelledDenoiseFn& denoise, const NetworkView& view,
                                    const NetworkImpl& network) {
  return view.capture ? captured_denoise_fn(denoise, network) : denoise;
}

}  // namespace

LabelledDenoiseFn labelled_denoise_fn(const std::shared_ptr<NetworkImpl>& network,
                                      const NetworkView& view, at::ScalarType dtype) {
  const LabelledDenoiseFn answer = answer_of(network, view, dtype);
  if (!view.self_conditioning) return captured_if_asked(answer, view, *network);
  const auto without_guess = [answer](const Tensor& x_t, const Tensor& t,
                                      const Tensor& class_labels) {
    return answer(at::cat({x_t, at::zeros_like(x_t)}, /*dim=*/1), t, class_labels);
  };
  return captured_if_asked(without_guess, view, *network);
}

LabelledDenoiseFn network_answer_fn(const std::shared_ptr<NetworkImpl>& network,
                                    const NetworkView& view, at::ScalarType dtype) {
  return captured_if_asked(answer_of(network, view, dtype), view, *network);
}

DenoiseFn network_denoise_fn(const std::shared_ptr<NetworkImpl>& network, const NetworkView& view,
                             at::ScalarType dtype, const Tensor& class_labels) {
  return network_denoise_fn(network_answer_fn(network, view, dtype), view, class_labels);
}

DenoiseFn network_denoise_fn(const LabelledDenoiseFn& answers, const NetworkView& view,
                             const Tensor& class_labels) {
  const DenoiseFn answer = [answers, class_labels](const Tensor& x_t, const Tensor& t) {
    return answers(x_t, t, class_labels);
  };
  if (!view.self_conditioning) return answer;
  return [answer, view, guess = Tensor()](const Tensor& x_t, const Tensor& t) mutable {
    check_arg(
        t.scalar_type() == at::kLong,
        "[network_denoise_fn] a self-conditioned network needs a sampler of whole timesteps: ",
        "expected Long, got ", t.scalar_type());
    if (!guess.defined()) guess = at::zeros_like(x_t);
    const Tensor output = answer(at::cat({x_t, guess}, /*dim=*/1), t);
    guess = self_condition(view.schedule, view.prediction, x_t, t, output);
    return output;
  };
}

}  // namespace ddpm
