#pragma once

#include <cstdint>

#include "ddpm/config/model_config.h"
#include "ddpm/core/tensor.h"
#include "ddpm/model/gradient_checkpoint.h"
#include "ddpm/model/layers.h"

namespace ddpm {

/// What a res block does with the sides of its map.
enum class Resampling { kNone, kDown, kUp };

/// Options that all res blocks of a network, or of its middle, share.
struct ResnetOptions {
  int64_t time_channels = 0;
  int64_t norm_num_groups = 32;
  double norm_eps = 1e-5;
  double dropout = 0.0;
  TimeScaleShift time_scale_shift = TimeScaleShift::kDefault;
  double output_scale_factor = 1.0;  ///< divides the residual sum.
  bool resample_projection = false;  ///< a shortcut convolution wherever it resamples.
  WeightInit weight_init = WeightInit::kPyTorch;
};

/// The res block of DDPM's U-Net:
///
///     h = conv1(resample(silu(norm1(x))))
///     h = conv2(dropout(silu(norm2(h + time_emb_proj(e)))))        time_scale_shift kDefault
///     h = conv2(dropout(silu((1 + scale) norm2(h) + shift)))       kScaleShift [ADM, 4.3]
///     y = (shortcut(resample(x)) + h) / output_scale_factor
///
/// shortcut is a 1x1 convolution where the channels change, and with resample_projection where the
/// block resamples; nothing otherwise. e is the embedding with SiLU taken. Names: norm1, conv1,
/// time_emb_proj, norm2, conv2, conv_shortcut.
class ResnetBlockImpl : public torch::nn::Module, public CheckpointedModule {
 public:
  ResnetBlockImpl(int64_t in_channels, int64_t out_channels, const ResnetOptions& options,
                  Resampling resampling = Resampling::kNone);

  /// @param x      [N, C, H, W] channels_last.
  /// @param time   [N, C_t]: time_emb_proj(e) + added_to_time(), which TimeProjections computes for
  ///               all blocks of a network at once.
  /// @param x_rest [N, C', H, W] whose channels stand behind x's, in_channels in all; undefined:
  ///               none.
  /// @return       [N, out_channels, H', W'] channels_last.
  Tensor forward(const Tensor& x, const Tensor& time, const Tensor& x_rest = {});
  MapFork forward_fork(const Tensor& x, const Tensor& time);  ///< Of one map.

  /// time_emb_proj: [N, time_channels] to [N, C_t].
  const LinearImpl& time_projection() const { return *time_emb_proj_; }
  /// [C_t], conv1's bias where it is added in the same place: in norm2's own pass over the map.
  /// Undefined elsewhere.
  Tensor added_to_time() const;

 private:
  MapFork run(const Tensor& x, const Tensor& time, const Tensor& x_rest);
  /// The first convolution, with norm1 before it and what the time adds to it behind it.
  Conv2dArgs first_conv(const GroupNormSiluArgs& norm, const Tensor& time,
                        const Tensor& x_rest) const;
  /// norm1, resampling and the first convolution, without what the time or its bias add. x and
  /// x_rest come back as the shortcut reads them.
  Conv2dFork first_conv_alone(const GroupNormSiluArgs& norm, const Tensor& x_rest);
  /// norm2's arguments where the time was added to h before.
  GroupNormSiluArgs second_norm(const Tensor& h, const Tensor& time) const;
  /// norm2, the second convolution and the shortcut of maps with the result's sides.
  Tensor second_conv(const GroupNormSiluArgs& norm, const Tensor& x, const Tensor& x_rest) const;
  Tensor resample(const Tensor& x) const;

  ResnetOptions options_;
  Resampling resampling_;
  GroupNorm norm1_{nullptr}, norm2_{nullptr};
  Conv2d conv1_{nullptr}, conv2_{nullptr}, conv_shortcut_{nullptr};
  Linear time_emb_proj_{nullptr};
};
TORCH_MODULE(ResnetBlock);

}  // namespace ddpm
