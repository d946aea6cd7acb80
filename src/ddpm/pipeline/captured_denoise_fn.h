#pragma once

#include <optional>

#include "ddpm/model/network.h"
#include "ddpm/sampling/denoise_fn.h"

namespace ddpm {

/// `denoise` as a function that is replayed as a CUDA graph, one for each shape and dtype of its
/// arguments: the first call of a shape runs as it is, the second is captured
/// (core/captured_work.h). The bits stay the same. On a CPU, and where gradients are wanted, it is
/// `denoise` itself.
///
/// Timesteps and labels are read on the device: mixed ones in a batch cost what uniform ones do.
/// Answers are new tensors. Graphs read the weights where they were: values that are written to the
/// network's tensors count from the next call on, and where these got another storage (as
/// training's previews do with the EMA) everything is captured anew. Of many shapes, the graphs of
/// the last ones are kept. Copies of the result share the graphs, and serve one thread.
///
/// @param denoise    a pure function of its arguments and of the network, which is in eval mode.
/// @param network    whose tensors `denoise` reads.
/// @param rounded_to if `denoise` rounds x to that dtype and does nothing else with it: calls then
///                   round it on its way into the graph.
LabelledDenoiseFn captured_denoise_fn(const LabelledDenoiseFn& denoise, const NetworkImpl& network,
                                      std::optional<at::ScalarType> rounded_to = std::nullopt);

}  // namespace ddpm
