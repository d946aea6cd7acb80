#pragma once

#include <memory>

#include "ddpm/core/tensor.h"
#include "ddpm/diffusion/noise_schedule.h"
#include "ddpm/model/network.h"
#include "ddpm/pipeline/captured_denoise_fn.h"
#include "ddpm/sampling/denoise_fn.h"

namespace ddpm {

/// What the network was trained to see.
struct NetworkView {
  NoiseSchedule schedule;  ///< On the network's device.
  PredictionType prediction = PredictionType::kEpsilon;
  bool self_conditioning = false;
  int64_t super_resolution = 0;  ///< How many times it enlarges images; 0: it does not.
  /// [k, C, H / f, W / f] on the network's device: the images that a network of super_resolution f
  /// enlarges. Row i % k belongs to image i of a batch, whose size is a multiple of k. Undefined
  /// for other networks.
  Tensor low_resolution = {};
  bool capture = true;  ///< On a GPU: as captured_denoise_fn.
};

/// The network as samplers see it: x_t is rounded to the network's dtype on its way in. The
/// network's channels are those of x_t, of its guess and of low_resolution enlarged, those that
/// there are.
///
/// On a GPU calls become replays of a CUDA graph (pipeline/captured_denoise_fn.h), and the function
/// serves one thread.
///
/// @param network      in eval mode; its weights are read at each call, so they may change between.
/// @param dtype        of the weights: kFloat or kBFloat16.
/// @param class_labels one for each image of the batches to come; undefined without classes.
///
/// With prediction edm the network is given edm_input instead of x_t and t. With self_conditioning
/// each call also gives the network self_condition of the call before, zeros at first; the function
/// and its copies then remember, so they serve the calls of one batch, and throw
/// std::invalid_argument for fractional timesteps.
///
/// A call may be of the batch's first images alone: these have its first labels and their own
/// guesses, and the others keep theirs.
DenoiseFn network_denoise_fn(const std::shared_ptr<NetworkImpl>& network, const NetworkView& view,
                             at::ScalarType dtype, const Tensor& class_labels = {});

/// The network's answers to all that it sees: x_t, then the channels of a guess and of the enlarged
/// images, those that there are. Several network_denoise_fn may share them, and the captured graphs
/// with them. The view's low_resolution is not used.
LabelledDenoiseFn network_answer_fn(const std::shared_ptr<NetworkImpl>& network,
                                    const NetworkView& view, at::ScalarType dtype);

/// network_denoise_fn of such answers.
///
/// @param view that of network_answer_fn.
DenoiseFn network_denoise_fn(const LabelledDenoiseFn& answers, const NetworkView& view,
                             const Tensor& class_labels = {});

/// As network_denoise_fn, for labels that differ from call to call, as those of a server's batches
/// do: make it once, so that its graphs are kept. It remembers nothing: a self-conditioned network
/// gets no guess (zeros).
LabelledDenoiseFn labelled_denoise_fn(const std::shared_ptr<NetworkImpl>& network,
                                      const NetworkView& view, at::ScalarType dtype);

}  // namespace ddpm
