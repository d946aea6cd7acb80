#pragma once

#include <functional>

#include "ddpm/core/tensor.h"

namespace ddpm {

/// Runs `backward`, whose nodes belong to the current stream, so that gradients of weights are
/// computed on a stream of their own, beside those of maps, which wait for each other. The current
/// stream waits for them at the end; the bits are those of backward() alone. A map is kept until a
/// few more layers have been launched.
///
/// On a CPU it runs `backward` as it is, and on a GPU's default stream, which other threads use.
void with_gradients_beside(at::Device device, const std::function<void()>& backward);

}  // namespace ddpm
