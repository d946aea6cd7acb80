#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "ddpm/core/tensor.h"
#include "ddpm/model/gate.h"
#include "ddpm/model/layers.h"
#include "ddpm/model/time_projections.h"

namespace ddpm {

/// Size of the talk's timestep embedding.
inline constexpr int64_t kSimpleTimeChannels = 32;

enum class SimpleDirection { kDown, kUp };

struct SimpleBlockOptions {
  int64_t in_channels = 0;
  int64_t out_channels = 0;
  SimpleDirection direction = SimpleDirection::kDown;
  int64_t norm_num_groups = 0;  ///< of group norm; 0: batch norm.
  double dropout = 0.0;
  GateOptions gate = {};  ///< before the resampling; its channels are the block's own.
};

/// What a block found, at its input's side and resampled.
struct SimpleBlockOutput {
  Tensor features;   ///< [N, out_channels, H, W]
  Tensor resampled;  ///< [N, out_channels, H / 2, W / 2], or 2 H and 2 W on the way up.
};

/// A block of the talk's network:
///
///     h = norm1(relu(conv1(x))) + time,  time = relu(time_mlp(e))
///     features = gate(norm2(relu(conv2(dropout(h)))));  resampled = transform(features)
///
/// transform is a 4x4 convolution of stride 2, transposed on the way up. Names: time_mlp, conv1,
/// transform, conv2, batch_norm1 and batch_norm2 or group_norm1 and group_norm2, and the gate's
/// kind (cbam, squeeze_excite).
class SimpleBlockImpl : public torch::nn::Module {
 public:
  explicit SimpleBlockImpl(const SimpleBlockOptions& options);

  /// @param x    [N, in_channels, H, W] channels_last; 2 * in_channels on the way up.
  /// @param time [N, out_channels], which simple_time_rows() computes for all blocks.
  SimpleBlockOutput forward(const Tensor& x, const Tensor& time);
  LinearImpl& time_projection() { return *time_mlp_; }

 private:
  double dropout_;
  Linear time_mlp_{nullptr};
  Conv2d conv1_{nullptr}, transform_{nullptr}, conv2_{nullptr};
  BatchNorm2d batch_norm1_{nullptr}, batch_norm2_{nullptr};
  GroupNorm group_norm1_{nullptr}, group_norm2_{nullptr};
  std::shared_ptr<GateImpl> gate_;
};
TORCH_MODULE(SimpleBlock);

/// relu(time_mlp(e)) of each block. A GPU takes all in one product, because each alone is far too
/// small to fill it.
///
/// @param e [N, kSimpleTimeChannels]
TimeRows simple_time_rows(std::vector<SimpleBlock> blocks, const Tensor& e);

}  // namespace ddpm
