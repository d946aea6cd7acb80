#pragma once

#include <functional>
#include <vector>

#include "ddpm/core/tensor.h"

namespace ddpm {

/// Runs `backward`, whose nodes belong to the current stream, so that gradients of weights are
/// computed on a stream of their own, beside those of maps, which wait for each other. The current
/// stream waits for them at the end; the bits are those of backward() alone. A map is kept until a
/// few more layers have been launched.
///
/// Each weight takes part once in the pass, has no gradient before it and no tensor hook: else
/// autograd adds or reads what is not there yet.
///
/// On a CPU it runs `backward` as it is, and on a GPU's default stream, which other threads use.
void with_gradients_beside(at::Device device, const std::function<void()>& backward);

/// Runs `work` on what such a backward pass has made by now: where gradients of weights are
/// computed beside it, on their stream, behind them and all that the current stream holds. The pass
/// may read what it makes only when with_gradients_beside is over. Elsewhere it runs `work` as it
/// is.
///
/// @param touched tensors that `work` reads or writes and that nobody else has to keep, all of one
///                device: they are kept until the current stream has waited for it.
void run_beside_gradients(std::vector<Tensor> touched, const std::function<void()>& work);

}  // namespace ddpm
