#pragma once

#include <memory>
#include <vector>

#include "ddpm/core/tensor.h"

namespace ddpm {

/// Takes gradients out of leaves while a backward pass makes them, and copies them to where they
/// belong, several at a time, beside the pass (run_beside_gradients). The bits are those of copies
/// after it.
///
/// It leaves a hook in each leaf, which does nothing between end() and begin(), nor once this
/// object is gone. The hooks of one that is made later for the same leaves take the place of those
/// before, whose end() then finds all gradients in the leaves.
class GradientGather {
 public:
  /// @param leaves tensors that require a gradient, of one device; kept.
  explicit GradientGather(std::vector<Tensor> leaves);
  GradientGather(const GradientGather&) = delete;
  GradientGather& operator=(const GradientGather&) = delete;

  /// Gradients of the backward passes from here on go to `targets`. They belong to the current
  /// stream; those that another one holds wait in their leaves for end().
  ///
  /// @param targets of the leaves' sizes and strides, of any dtype; not read before end().
  void begin(std::vector<Tensor> targets);
  /// Copies what is left, and zeroes the targets of leaves that took no part. Where gradients were
  /// made beside, with_gradients_beside has to be over.
  /// @throws std::invalid_argument without begin().
  void end();
  /// Forgets all gradients that nobody has taken, also of the leaves, until the next begin().
  void drop();

 private:
  class Targets;
  class Hook;

  std::shared_ptr<Targets> targets_;
};

}  // namespace ddpm
