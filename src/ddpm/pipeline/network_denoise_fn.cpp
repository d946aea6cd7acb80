#include "ddpm/pipeline/network_denoise_fn.h"

#include <ATen/ATen.h>

#include <optional>

#include "ddpm/core/check.h"
#include "ddpm/diffusion/edm.h"
#include "ddpm/diffusion/prediction.h"
#include "ddpm/model/low_resolution.h"
#include "ddpm/sampling/classifier_guidance.h"

namespace ddpm {
namespace {

/// Images in the network's input: x_t, the guess, the enlarged one.
int64_t count_parts(const NetworkView& view) {
  return 1 + int64_t{view.self_conditioning} + int64_t{view.super_resolution > 0};
}

/// The network's answer, a pure function. x holds all that it sees.
LabelledDenoiseFn answer_of(const std::shared_ptr<NetworkImpl>& network, const NetworkView& view,
                            at::ScalarType dtype) {
  const auto answer = [network, dtype](const Tensor& x, const Tensor& t,
                                       const Tensor& class_labels) {
    const auto like_weights =
        x.options().dtype(dtype).memory_format(at::MemoryFormat::ChannelsLast);
    return network->forward(x.to(like_weights), t, {.class_labels = class_labels});
  };
  if (view.prediction != PredictionType::kEdm) return answer;
  return [answer, schedule = view.schedule, parts = count_parts(view)](
             const Tensor& x, const Tensor& t, const Tensor& class_labels) {
    const int64_t channels = x.size(1) / parts;
    const EdmInput input = edm_input(schedule.sigma_data, x.narrow(/*dim=*/1, 0, channels),
                                     alpha_bars_at(schedule, t));
    if (parts == 1) return answer(input.x, input.c_noise, class_labels);
    const Tensor beside = x.narrow(/*dim=*/1, channels, x.size(1) - channels);
    return answer(at::cat({input.x, beside}, /*dim=*/1), input.c_noise, class_labels);
  };
}

/// Of what is known of a batch, the part of its first images.
Tensor first_rows(const Tensor& batch, int64_t rows) {
  return batch.defined() && batch.size(0) > rows ? batch.narrow(/*dim=*/0, 0, rows) : batch;
}

/// The last guesses of a batch's images.
class LastGuesses {
 public:
  /// Of the images of a call; zeros for those that had none yet.
  Tensor of(const Tensor& x_t) const {
    const int64_t known = guesses_.defined() ? guesses_.size(0) : 0;
    if (known >= x_t.size(0)) return first_rows(guesses_, x_t.size(0));
    const Tensor none = at::zeros_like(x_t.narrow(/*dim=*/0, known, x_t.size(0) - known));
    return known == 0 ? none : at::cat({guesses_, none});
  }

  /// Takes those of the first images.
  void set(const Tensor& guesses) {
    const int64_t rows = guesses.size(0);
    const int64_t others = guesses_.defined() ? guesses_.size(0) - rows : 0;
    guesses_ = others <= 0 ? guesses : at::cat({guesses, guesses_.narrow(/*dim=*/0, rows, others)});
  }

 private:
  Tensor guesses_;
};

/// The enlarged images of a view, for batches.
Tensor enlarged_of(const NetworkView& view) {
  check_arg(view.low_resolution.defined() == (view.super_resolution > 0),
            "[network_denoise_fn] low_resolution: expected ",
            view.super_resolution > 0 ? "images to enlarge, got none"
                                      : "none for a network that enlarges nothing, got some");
  if (view.super_resolution == 0) return {};
  return enlarge_images(view.low_resolution, view.super_resolution);
}

Tensor with_enlarged(const Tensor& x, const Tensor& enlarged) {
  if (!enlarged.defined()) return x;
  const int64_t times = x.size(0) / enlarged.size(0);
  check_arg(times * enlarged.size(0) == x.size(0),
            "[network_denoise_fn] low_resolution: expected a batch of a multiple of ",
            enlarged.size(0), " images, got ", x.size(0));
  return at::cat({x, enlarged.repeat({times, 1, 1, 1})}, /*dim=*/1);
}

/// @param denoise answer_of() the network of that dtype, or of x_t with more channels.
LabelledDenoiseFn captured_if_asked(const LabelledDenoiseFn& denoise, const NetworkView& view,
                                    const NetworkImpl& network, at::ScalarType dtype) {
  if (!view.capture) return denoise;
  const bool scales_input = view.prediction == PredictionType::kEdm;
  return captured_denoise_fn(denoise, network,
                             scales_input ? std::nullopt : std::make_optional(dtype));
}

}  // namespace

LabelledDenoiseFn labelled_denoise_fn(const std::shared_ptr<NetworkImpl>& network,
                                      const NetworkView& view, at::ScalarType dtype) {
  const LabelledDenoiseFn answer = answer_of(network, view, dtype);
  if (!view.self_conditioning) return captured_if_asked(answer, view, *network, dtype);
  const auto without_guess = [answer](const Tensor& x_t, const Tensor& t,
                                      const Tensor& class_labels) {
    return answer(at::cat({x_t, at::zeros_like(x_t)}, /*dim=*/1), t, class_labels);
  };
  return captured_if_asked(without_guess, view, *network, dtype);
}

LabelledDenoiseFn network_answer_fn(const std::shared_ptr<NetworkImpl>& network,
                                    const NetworkView& view, at::ScalarType dtype) {
  return captured_if_asked(answer_of(network, view, dtype), view, *network, dtype);
}

DenoiseFn network_denoise_fn(const std::shared_ptr<NetworkImpl>& network, const NetworkView& view,
                             at::ScalarType dtype, const Tensor& class_labels) {
  return network_denoise_fn(network_answer_fn(network, view, dtype), view, class_labels);
}

DenoiseFn network_denoise_fn(const LabelledDenoiseFn& answers, const NetworkView& view,
                             const Tensor& class_labels) {
  const DenoiseFn answer = [answers, class_labels, enlarged = enlarged_of(view)](const Tensor& x,
                                                                                 const Tensor& t) {
    return answers(with_enlarged(x, enlarged), t, first_rows(class_labels, x.size(0)));
  };
  if (!view.self_conditioning) return answer;
  return [answer, view, guesses = std::make_shared<LastGuesses>()](const Tensor& x_t,
                                                                   const Tensor& t) {
    check_arg(
        t.scalar_type() == at::kLong,
        "[network_denoise_fn] a self-conditioned network needs a sampler of whole timesteps: ",
        "expected Long, got ", t.scalar_type());
    const Tensor output = answer(at::cat({x_t, guesses->of(x_t)}, /*dim=*/1), t);
    guesses->set(self_condition(view.schedule, view.prediction, x_t, t, output));
    return output;
  };
}

}  // namespace ddpm
