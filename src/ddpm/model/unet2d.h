#pragma once

#include <vector>

#include "ddpm/config/model_config.h"
#include "ddpm/core/tensor.h"
#include "ddpm/kernels/weight_state.h"
#include "ddpm/model/network.h"
#include "ddpm/model/time_projections.h"
#include "ddpm/model/timestep_embedding.h"
#include "ddpm/model/unet_blocks.h"

namespace ddpm {

/// The U-Net of DDPM and its successors: structure, options and tensor names of diffusers'
/// UNet2DModel, so that weights go both ways.
class UNet2DImpl : public NetworkImpl, public PreparableModule {
 public:
  /// @param config checked by check_model_config().
  explicit UNet2DImpl(const UNet2DConfig& config);

  /// H and W must be multiples of 2^(levels - 1). The timestep embedding is computed in float32.
  Tensor forward(const Tensor& x, const Tensor& t, const NetworkLabels& labels) override;
  void prepare_for_sampling() override { time_projections_.prepare_for_sampling(); }
  void prepare_timesteps(int64_t num_timesteps) override;

 private:
  void add_levels();
  /// What a pass with gradients makes of weights alone, before anything else: launched one by one
  /// between the layers it would keep a GPU waiting.
  void prepare_for_pass();
  /// In the order in which they run.
  std::vector<ResnetBlock> res_blocks() const;
  TimeRows time_rows(const Tensor& t, const NetworkLabels& labels, at::ScalarType dtype);
  /// Every tensor that the rows of an image without labels depend on.
  std::vector<Tensor> time_parameters() const;
  /// [N, time channels], SiLU taken.
  Tensor embed(const Tensor& t, const NetworkLabels& labels, at::ScalarType dtype);
  Tensor embed_classes(const Tensor& class_labels, int64_t images, at::ScalarType dtype);
  Tensor embed_augmentation(const Tensor& augment_labels, int64_t images, at::ScalarType dtype);
  /// Sines and cosines of t, or of labels.
  Tensor waves(const Tensor& t, double scale, at::ScalarType dtype) const;

  UNet2DConfig config_;
  Conv2d conv_in_{nullptr}, conv_out_{nullptr};
  TimestepMlp time_embedding_{nullptr}, class_timestep_embedding_{nullptr};
  Embedding class_embedding_{nullptr};
  Linear augment_embedding_{nullptr};
  std::vector<DownBlock> down_blocks_;
  std::vector<UpBlock> up_blocks_;
  MidBlock mid_block_{nullptr};
  TimeProjections time_projections_;
  GroupNorm conv_norm_out_{nullptr};
  Tensor time_table_;       ///< [num_timesteps, ...] of TimeProjections::rows_of(), if prepared.
  WeightState time_state_;  ///< Of time_parameters(), when it was.
};

}  // namespace ddpm
