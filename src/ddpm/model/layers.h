#pragma once

#include <torch/nn/module.h>

#include <cstdint>
#include <memory>
#include <string>

#include "ddpm/core/tensor.h"
#include "ddpm/kernels/conv2d.h"
#include "ddpm/kernels/cpu/packed_weight.h"
#include "ddpm/kernels/group_norm_silu.h"
#include "ddpm/model/weight_init.h"

namespace ddpm {

/// A layer's result, and its input again for a caller that reads that later: a GPU adds the
/// gradient of what is taken from here in the layer's own pass.
struct MapFork {
  Tensor y, x;
};

/// A module that can make its weights ready for many calls without gradients.
class PreparableModule {
 public:
  virtual ~PreparableModule() = default;
  virtual void prepare_for_sampling() = 0;
};

/// Prepares every module of a network whose weights will stay: packs their copies in the order in
/// which the CPU's kernels read them, and joins those that are multiplied with one input. Gradients
/// and weights that change all the same go on with the weights as they are, until the network is
/// prepared again.
void prepare_for_sampling(torch::nn::Module& network);

/// A module that holds tensors itself and knows how they are initialised, by default as PyTorch's.
/// Weights are float32 zeros until then; those of convolutions are channels_last.
class LayerImpl : public torch::nn::Module {
 public:
  /// Draws the layer's tensors; tensor i of the layer takes stream `first_tensor + i` of `seed`.
  virtual void initialize(uint64_t seed, uint64_t first_tensor) = 0;

 protected:
  /// Draws a weight [out, in, ...] and its bias, which may be undefined, from streams `first` and
  /// `first + 1`.
  static void draw(const LayerInit& init, const Tensor& weight, const Tensor& bias, uint64_t seed,
                   uint64_t first);
};

/// A convolution with a square kernel.
class Conv2dImpl : public LayerImpl, public PreparableModule {
 public:
  struct Options {
    int64_t kernel = 3;
    int64_t stride = 1;
    int64_t padding = 1;
    bool transposed = false;
    bool upsampled = false;  ///< upsample_nearest_2x(x) comes in.
    bool bias = true;
    LayerInit init = {};
  };
  Conv2dImpl(int64_t in_channels, int64_t out_channels, Options options);
  Conv2dImpl(int64_t in_channels, int64_t out_channels)
      : Conv2dImpl(in_channels, out_channels, Options()) {}

  /// @param x        [N, in_channels, H, W]
  /// @param residual like the result, which it is added to; undefined: nothing.
  /// @return         [N, out_channels, H', W'], channels_last.
  Tensor forward(const Tensor& x, const Tensor& residual = {});
  /// forward(pad_right_and_bottom(x)), for callers that read x again.
  Conv2dFork forward_padded_fork(const Tensor& x);
  /// What forward_without_bias() computes.
  Conv2dArgs args_without_bias(const Tensor& x, const Tensor& x_rest = {}) const;
  /// The same without the bias, for callers that add it elsewhere.
  /// @param x_rest [N, C', H, W] whose channels stand behind x's; undefined: none.
  Tensor forward_without_bias(const Tensor& x, const Tensor& x_rest = {});
  const Tensor& bias() const { return bias_; }  ///< [out_channels]
  void initialize(uint64_t seed, uint64_t first_tensor) override;
  void prepare_for_sampling() override;

 private:
  Conv2dArgs args(const Tensor& x) const;

  Options options_;
  Tensor weight_, bias_;
  PackedWeight packed_;
};
TORCH_MODULE(Conv2d);

/// y = x W^T + b over the last dimension.
class LinearImpl : public LayerImpl, public PreparableModule {
 public:
  struct Options {
    bool bias = true;
    LayerInit init = {};
  };
  LinearImpl(int64_t in_features, int64_t out_features, Options options);
  LinearImpl(int64_t in_features, int64_t out_features)
      : LinearImpl(in_features, out_features, Options()) {}

  /// @param residual like the result, which it is added to; undefined: nothing.
  Tensor forward(const Tensor& x, const Tensor& residual = {});
  const Tensor& weight() const { return weight_; }  ///< [out_features, in_features]
  const Tensor& bias() const { return bias_; }      ///< [out_features], or undefined.
  void initialize(uint64_t seed, uint64_t first_tensor) override;
  void prepare_for_sampling() override;

 private:
  LayerInit init_;
  Tensor weight_, bias_;
  PackedWeight packed_;
};
TORCH_MODULE(Linear);

/// A group norm, with what a res block does around it.
class GroupNormImpl : public LayerImpl {
 public:
  GroupNormImpl(int64_t num_groups, int64_t num_channels, double eps);
  void initialize(uint64_t seed, uint64_t first_tensor) override;

  /// The arguments of group_norm_silu() for `x` with this norm's weights; the caller adds the rest.
  GroupNormSiluArgs args(const Tensor& x) const;

 private:
  int64_t num_groups_;
  double eps_;
  Tensor weight_, bias_;
};
TORCH_MODULE(GroupNorm);

/// Batch norm with running statistics, momentum 0.1, eps 1e-5. The statistics stay float32 when the
/// network is converted to bf16, and the number of batches an integer.
class BatchNorm2dImpl : public LayerImpl {
 public:
  explicit BatchNorm2dImpl(int64_t num_channels);
  /// batch_norm(relu(x + x_bias)) + time_embedding: by the batch's statistics in training, and by
  /// the running ones otherwise.
  ///
  /// @param time_embedding [N, C]; undefined: nothing.
  /// @param x_bias         [C], which x still lacks; undefined: nothing.
  Tensor forward_after_relu(const Tensor& x, const Tensor& time_embedding = {},
                            const Tensor& x_bias = {});
  void initialize(uint64_t seed, uint64_t first_tensor) override;

  using torch::nn::Module::to;
  void to(at::ScalarType dtype, bool non_blocking = false) override;

 private:
  Tensor weight_, bias_, running_mean_, running_var_, num_batches_tracked_;
};
TORCH_MODULE(BatchNorm2d);

/// A table with one row for each class.
class EmbeddingImpl : public LayerImpl {
 public:
  EmbeddingImpl(int64_t num_rows, int64_t num_features);
  /// @param index [N] int64 @return [N, num_features]
  Tensor forward(const Tensor& index);
  void initialize(uint64_t seed, uint64_t first_tensor) override;

 private:
  Tensor weight_;
};
TORCH_MODULE(Embedding);

/// A module that only numbers its children, as PyTorch's ModuleList and Sequential do.
std::shared_ptr<torch::nn::Module> add_list(torch::nn::Module& parent, const std::string& name);

}  // namespace ddpm
