#pragma once

#include <cstdint>
#include <vector>

#include "ddpm/core/tensor.h"
#include "ddpm/kernels/cpu/convolution_bf16.h"

namespace ddpm {

/// A layer's weight in the order in which the CPU's kernels read it, so that no call has to reorder
/// it: for convolve_bf16, or for oneDNN. It is of use as long as the weight keeps the values that
/// it was packed from.
class PackedWeight {
 public:
  /// Packs nothing.
  PackedWeight() = default;

  /// Of a convolution's weight [O, C, k, k]. Empty where the CPU has no such kernels for it.
  static PackedWeight of_conv2d(const Tensor& weight, int64_t stride, int64_t padding);
  /// Of weights [O_i, C] of linear layers with one input, as one of [sum O_i, C]. Empty as above.
  static PackedWeight of_linear(const std::vector<Tensor>& weights);

  /// True if it holds what these weights hold now. Whoever changes a weight in place or gives it
  /// other storage makes this false.
  bool is_of(const std::vector<Tensor>& weights) const;
  const cpu::Bf16Blocks& blocks() const { return blocks_; }  ///< empty where oneDNN takes it.
  const Tensor& of_onednn() const { return of_onednn_; }

 private:
  /// A state of a weight: its memory, which is held so that nothing else can take its place, and
  /// LibTorch's count of what was written there.
  struct Source {
    Tensor memory;
    int64_t version = 0;
  };
  explicit PackedWeight(const std::vector<Tensor>& weights);

  cpu::Bf16Blocks blocks_;
  Tensor of_onednn_;
  std::vector<Source> sources_;
};

/// The convolution conv2d() of a packed weight, without gradients.
///
/// @param residual like the result, channels_last; may be undefined, as bias.
Tensor packed_conv2d(const Tensor& x, const PackedWeight& weight, const Tensor& bias,
                     const Tensor& residual, int64_t stride, int64_t padding);

/// x W^T + bias + residual over the last dimension, without gradients; bias and residual may be
/// undefined.
Tensor packed_linear(const Tensor& x, const PackedWeight& weight, const Tensor& bias,
                     const Tensor& residual);

}  // namespace ddpm
