#pragma once

#include <cstdint>
#include <vector>

#include "ddpm/config/model_config.h"
#include "ddpm/core/tensor.h"
#include "ddpm/model/layers.h"
#include "ddpm/model/network.h"

namespace ddpm {

enum class SimpleDirection { kDown, kUp };

/// A level of the talk's network:
///
///     h = norm1(relu(conv1(x))) + relu(time_mlp(e));  y = transform(norm2(relu(conv2(h))))
///
/// transform is a 4x4 convolution of stride 2, transposed on the way up. Names: time_mlp, conv1,
/// transform, conv2, batch_norm1, batch_norm2.
class SimpleBlockImpl : public torch::nn::Module {
 public:
  SimpleBlockImpl(int64_t in_channels, int64_t out_channels, SimpleDirection direction);

  /// @param x [N, in_channels, H, W]; 2 * in_channels on the way up.
  /// @param e [N, 32]
  /// @return  [N, out_channels, H / 2, W / 2], or 2 H and 2 W on the way up.
  Tensor forward(const Tensor& x, const Tensor& e);

 private:
  Linear time_mlp_{nullptr};
  Conv2d conv1_{nullptr}, transform_{nullptr}, conv2_{nullptr};
  BatchNorm2d batch_norm1_{nullptr}, batch_norm2_{nullptr};
};
TORCH_MODULE(SimpleBlock);

/// The talk's SimpleUnet: four levels down to 1024 channels and up again, with the talk's tensor
/// names. Each level takes over the map that its mirror image put out, after the resampling.
class SimpleUnetImpl : public NetworkImpl {
 public:
  explicit SimpleUnetImpl(const SimpleUnetConfig& config);

  /// H and W must be multiples of 16. The timestep embedding is computed in float64 for a float64
  /// network, and in float32 otherwise.
  Tensor forward(const Tensor& x, const Tensor& t, const Tensor& class_labels) override;

 private:
  int64_t image_channels_;
  Linear time_mlp_{nullptr};
  Conv2d conv0_{nullptr}, output_{nullptr};
  std::vector<SimpleBlock> down_blocks_, up_blocks_;
};

}  // namespace ddpm
