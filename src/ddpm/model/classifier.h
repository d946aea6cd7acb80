#pragma once

#include <cstdint>
#include <vector>

#include "ddpm/config/classifier_config.h"
#include "ddpm/core/tensor.h"
#include "ddpm/model/network.h"
#include "ddpm/model/timestep_embedding.h"
#include "ddpm/model/unet_blocks.h"

namespace ddpm {

/// A classifier of noisy images, p(y | x_t, t) [ADM, Sec. 4]: UNet2D's way down with
/// the embedding as scale and shift, then
///
///     features = mean over pixels of silu(norm(h)),    logits = W features + b
///
/// The paper has a middle block and pools by attention; here the last level attends, and pools by
/// the mean, which makes features of an image of any size.
///
/// Names: conv_in, time_embedding, down_blocks.<i>, conv_norm_out, head.
class ClassifierImpl : public NetworkImpl, public PreparableModule {
 public:
  /// @param config checked by check_model_config().
  explicit ClassifierImpl(const ClassifierConfig& config);

  /// What the logits are a linear function of.
  ///
  /// @param x [N, in_channels, H, W] of the weights' dtype; sides multiples of 2^(levels - 1).
  /// @param t [N] int64 or float; zeros for images without noise.
  /// @return  [N, num_features], x's dtype.
  Tensor features(const Tensor& x, const Tensor& t);

  /// @param labels none: what the classes of the images are is for the classifier to say.
  /// @return       [N, num_classes] logits, x's dtype.
  /// @throws std::invalid_argument if a shape does not fit, or labels are given.
  Tensor forward(const Tensor& x, const Tensor& t, const NetworkLabels& labels) override;

  void prepare_for_sampling() override { time_projections_.prepare_for_sampling(); }

  int64_t num_features() const { return config_.block_out_channels.back(); }

 private:
  void add_levels();

  ClassifierConfig config_;
  Conv2d conv_in_{nullptr};
  TimestepMlp time_embedding_{nullptr};
  std::vector<DownBlock> down_blocks_;
  TimeProjections time_projections_;
  GroupNorm conv_norm_out_{nullptr};
  Linear head_{nullptr};
};

}  // namespace ddpm
