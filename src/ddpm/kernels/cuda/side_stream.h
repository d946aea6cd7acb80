#pragma once

#include <functional>
#include <vector>

#include "ddpm/core/tensor.h"

// A stream beside another one, for what a backward pass makes and does not read again (see
// with_gradients_beside). Autograd's threads find it by their current stream.
namespace ddpm::cuda {

/// Runs `work` while the current stream has a side stream, then makes it wait for that. On the
/// default stream as it is.
void with_side_stream(at::Device device, const std::function<void()>& work);

/// Runs `work` on the current stream's side stream, after all that the current stream holds by now
/// and all that ran there before; at once as it is, if there is none.
///
/// @param touched tensors of the current stream that `work` reads or writes: they are kept until
///                the current stream has waited for it.
void run_beside(std::vector<Tensor> touched, const std::function<void()>& work);

/// The current stream waits for all that ran beside it. Who gives autograd a gradient that was made
/// there calls it, unless the gradient is a leaf's: autograd takes those as they are, if nobody
/// else holds them and their strides are the leaf's.
void join_beside();

/// @param tensors may be undefined.
bool are_leaves(const std::vector<Tensor>& tensors);

/// The gradient in the strides of its leaf.
Tensor in_strides_of(const Tensor& leaf, const Tensor& gradient);

}  // namespace ddpm::cuda
