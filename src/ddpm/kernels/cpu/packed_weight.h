#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "ddpm/core/tensor.h"
#include "ddpm/kernels/cpu/convolution_bf16.h"
#include "ddpm/kernels/cpu/winograd_convolution.h"

namespace ddpm {

/// A layer's weight in the orders in which the CPU's kernels read it, so that no call has to
/// reorder it: for convolve_bf16, convolve_winograd, and oneDNN. Each is made by the first call
/// that needs it. On a GPU weights of linear layers are joined at once, and those of convolutions
/// that Hopper's warpgroups multiply put in the order in which these read them. They are of use as
/// long as the weight keeps the values that it has when it is given here.
class PackedWeight {
 public:
  /// Packs nothing.
  PackedWeight() = default;

  /// Of a convolution's weight [O, C, k, k]. Empty where the device has no such kernels for it.
  ///
  /// @param upsampled Conv2dArgs::upsampled.
  static PackedWeight of_conv2d(const Tensor& weight, int64_t stride, int64_t padding,
                                bool upsampled = false);
  /// Of weights [O_i, C] of linear layers with one input, as one of [sum O_i, C]. Empty for one
  /// weight that the CPU has no such kernels for.
  static PackedWeight of_linear(const std::vector<Tensor>& weights);

  /// True if it holds what these weights hold now. Whoever changes a weight in place or gives it
  /// other storage makes this false.
  bool is_of(const std::vector<Tensor>& weights) const;
  /// The sum of the O_i.
  int64_t out_channels() const;

  /// True if convolve_bf16 is the faster one for maps of so many pixels.
  bool prefers_blocks(int64_t pixels) const;
  const cpu::Bf16Blocks& blocks() const;
  /// True if convolve_winograd takes this weight and is the faster one for results of such sides.
  bool prefers_winograd(int64_t height, int64_t width) const;
  const cpu::WinogradWeight& winograd() const;
  /// For maps as large as x: its order depends on that, though not on their number, and oneDNN
  /// takes a weight in another order, but reorders it at each call. Kept for the last size.
  Tensor of_onednn(const Tensor& x) const;
  /// [O / 128, C / 32, k k, 4, 128, 8], as conv2d_warpgroup reads it; undefined where nothing does.
  const Tensor& tiles() const;
  /// The same of an upsampled map's phases: [4 O / 128, C / 32, 4, 4, 128, 8].
  const Tensor& phase_tiles() const;
  /// [sum O_i, C]; undefined where the CPU's kernels read another form.
  const Tensor& joined() const;

 private:
  struct Forms;
  std::shared_ptr<const Forms> forms_;
};

/// The convolution conv2d() of a packed weight, without gradients.
///
/// @param residual like the result, channels_last; may be undefined, as bias.
Tensor packed_conv2d(const Tensor& x, const PackedWeight& weight, const Tensor& bias,
                     const Tensor& residual, int64_t stride, int64_t padding);

/// True if packed_upsampled_conv2d() takes x.
bool packed_weight_upsamples(const Tensor& x, const PackedWeight& weight);

/// packed_conv2d() of upsample_nearest_2x(x), with padding 1.
Tensor packed_upsampled_conv2d(const Tensor& x, const PackedWeight& weight, const Tensor& bias);

/// Images beside each other of an x that packed_padded_conv2d() takes in the place of x; 0: none.
int64_t packed_images_beside(const Tensor& x, const PackedWeight& weight, int64_t stride,
                             int64_t padding);

/// packed_conv2d() of a convolution of stride 1 whose maps come with their padding, as
/// padded_group_norm_silu() writes them: [N / b, H + 2 p, W + 2 p, b, C].
Tensor packed_padded_conv2d(const Tensor& x, const PackedWeight& weight, const Tensor& bias,
                            const Tensor& residual, int64_t padding);

/// x W^T + bias + residual over the last dimension, without gradients; bias and residual may be
/// undefined.
Tensor packed_linear(const Tensor& x, const PackedWeight& weight, const Tensor& bias,
                     const Tensor& residual);

}  // namespace ddpm
