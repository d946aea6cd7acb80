#pragma once

#include <torch/nn/module.h>

#include <functional>
#include <vector>

#include "ddpm/core/tensor.h"

namespace ddpm {

/// function(inputs), of which the backward pass needs the inputs alone: it calls the function again
/// for all that lies between [Chen et al. 2016, Training Deep Nets with Sublinear Memory Cost].
/// Random draws from the default generators come out the same the second time; so it can't be
/// captured in a CUDA graph if it draws.
///
/// @param function makes a tensor of the inputs, and of parameters, whose gradients it adds to
///                 theirs; owns whatever it needs until the backward pass.
/// @param inputs   all defined; one requires a gradient, or nothing is to be had.
/// @param draws    whether the function draws random numbers.
Tensor gradient_checkpoint(std::function<Tensor(const std::vector<Tensor>&)> function,
                           const std::vector<Tensor>& inputs, bool draws);

/// A module whose forward() can keep its inputs alone for the backward pass.
class CheckpointedModule {
 public:
  virtual ~CheckpointedModule() = default;
  void checkpoint_gradients(bool does) { checkpoints_ = does; }

 protected:
  /// True in training, with gradients, if it was asked for.
  bool checkpoints(const torch::nn::Module& self) const;

 private:
  bool checkpoints_ = false;
};

/// Asks all such modules of a network for it. False if there are none.
bool checkpoint_gradients(torch::nn::Module& network);

}  // namespace ddpm
