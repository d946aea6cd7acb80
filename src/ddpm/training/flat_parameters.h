#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "ddpm/checkpoint/safetensors.h"
#include "ddpm/config/train_config.h"
#include "ddpm/core/tensor.h"
#include "ddpm/model/network.h"
#include "ddpm/training/gradient_gather.h"

namespace ddpm {

/// A network's weights, gradients and running statistics, each in one flat buffer: the network's
/// own tensors become views of them, so that one kernel can take an optimizer step over all.
///
/// Every tensor starts at a multiple of 64 elements; the gaps hold zeros. Convolution weights keep
/// channels_last strides. With Precision::kBf16 the network computes with a bfloat16 copy of the
/// weights; running statistics stay float32.
///
/// backward() finds the network without gradients, and autograd's own tensors are taken out of it
/// as they come: nothing is zeroed or added up weight by weight. Sums of several backward() are
/// float32; the gradient of a single one has the network's dtype.
class FlatParameters {
 public:
  /// @param network      on its device, in float32; it stays bound to this object's buffers.
  /// @param accumulation how many backward() the gradient is the sum of.
  /// @throws std::invalid_argument if it has no trainable weights, or one is not float32.
  FlatParameters(std::shared_ptr<NetworkImpl> network, Precision precision,
                 int64_t accumulation = 1);

  // Shared storage: writing to these tensors changes what the network computes with.
  const Tensor& master() const { return master_; }    ///< [n] float32, the weights.
  const Tensor& grad() const { return grad_; }        ///< [n] of all micro-batches so far.
  const Tensor& weights() const { return weights_; }  ///< [n] bfloat16 master, or undefined.
  const Tensor& buffers() const { return buffers_; }  ///< [b] float32 running statistics.

  /// Forgets gradients of a backward() that end_gather() has not seen.
  void drop_grad();
  /// Gradients that backward() makes from here on, on the current stream, are copied while it runs,
  /// and beside it within with_gradients_beside().
  /// @param is_first of the micro-batches: whether grad() begins anew.
  void begin_gather(bool is_first);
  /// After it: grad() holds this micro-batch's gradient, added to the others before it. A weight
  /// that took no part counts as 0.
  /// @throws std::invalid_argument without begin_gather().
  void end_gather();
  /// Brings weights() up to date after master() was written to.
  void refresh_weights();

  /// The network computes with these values, rounded where it computes in bfloat16, until
  /// use_trained(). They are not copied where they need no rounding.
  /// @param flat         [n] float32, laid out as master().
  /// @param flat_buffers [b] float32, laid out as buffers().
  void use(const Tensor& flat, const Tensor& flat_buffers);
  void use_trained();

  /// Copies of all tensors of the state dict, in its order, contiguous.
  NamedTensors named_state(const Tensor& flat, const Tensor& flat_buffers) const;
  /// Copies of the trained weights' part of `flat`, in the state dict's order, contiguous.
  NamedTensors named_parameters(const Tensor& flat) const;

  /// The reverse of named_state(), into `flat`, `flat_buffers` and the network's integer buffers.
  /// @throws std::invalid_argument that names a tensor which is missing, unknown, or of another
  ///         shape.
  void assign_state(const NamedTensors& tensors, Tensor flat, Tensor flat_buffers);
  /// The reverse of named_parameters().
  void assign_parameters(const NamedTensors& tensors, Tensor flat) const;

 private:
  enum class Kind { kParameter, kBuffer, kOther };
  struct Slot {
    std::string name;
    Tensor tensor;  ///< the network's own
    Kind kind = Kind::kOther;
    int64_t offset = 0;
  };

  void list_slots();
  std::vector<Tensor> leaves() const;
  static Tensor view_of(const Slot& slot, const Tensor& flat);
  void bind(const Tensor& weights, const Tensor& flat_buffers);

  std::shared_ptr<NetworkImpl> network_;
  std::vector<Slot> slots_;  ///< in the state dict's order
  std::optional<GradientGather> gather_;
  bool is_first_ = true;  ///< of the micro-batch that is gathered
  int64_t num_weights_ = 0;
  int64_t num_statistics_ = 0;
  Tensor master_;
  Tensor grad_;
  Tensor part_grad_;  ///< of one micro-batch, in the network's dtype
  Tensor weights_;
  Tensor buffers_;
};

}  // namespace ddpm
