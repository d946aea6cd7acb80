#pragma once

#include <torch/nn/module.h>

#include <cstdint>
#include <memory>

#include "ddpm/config/model_config.h"
#include "ddpm/config/run_config.h"
#include "ddpm/core/tensor.h"

namespace ddpm {

/// What a network is told of its images, one row each. All undefined: nothing.
struct NetworkLabels {
  /// [N] int64 ([N, 4 * size of the timestep embedding] float where class_embed_type is identity);
  /// undefined for a network without classes.
  Tensor class_labels = {};
  /// [N, augment_dim] floating: how they were augmented [EDM, Appendix F.2]; undefined, as for
  /// images as they are, means zeros.
  Tensor augment_labels = {};
};

/// What training fits: a denoising network, which sampling calls, or a classifier of noisy images.
class NetworkImpl : public torch::nn::Module {
 public:
  /// @param x      [N, in_channels, H, W] of the weights' dtype; channels_last avoids a copy.
  /// @param t      [N] int64 or float, on x's device.
  /// @param labels on x's device.
  /// @return       x's dtype: [N, out_channels, H, W], channels_last; of a classifier its logits,
  ///               [N, num_classes].
  /// @throws std::invalid_argument if a shape does not fit, class labels are missing, or labels are
  ///         given to a network without such labels.
  virtual Tensor forward(const Tensor& x, const Tensor& t, const NetworkLabels& labels) = 0;

  /// Computes what int64 t from 0 to num_timesteps - 1 alone decide, for many calls without
  /// gradients, where that pays: on a GPU. Such t must then be less than num_timesteps, as long as
  /// the weights stay as they are.
  virtual void prepare_timesteps(int64_t num_timesteps) { static_cast<void>(num_timesteps); }
};

/// What every U-Net's forward asks of its input.
///
/// @param name   of the network, for the message.
/// @param factor what height and width must be multiples of.
/// @throws std::invalid_argument unless x is [N, channels, H, W] with such sides and t is [N].
void check_network_input(const char* name, const Tensor& x, const Tensor& t, int64_t channels,
                         int64_t factor);

/// What a run asks of its network beside the sizes of its data.
struct NetworkDemands {
  bool learned_variance = false;   ///< Two channels out for one: a prediction and v [IDDPM Eq. 15].
  bool self_conditioning = false;  ///< One more channel in for each: a guess of x_start.
  int64_t super_resolution = 0;    ///< One more channel in for each: x_start reduced by this factor
                                   ///< (which the images' size must be a multiple of); 0: none.
  bool null_class = false;         ///< One row more of the class table, the last: "no class".
  int64_t augment_dim = 0;         ///< Numbers that tell how an image was augmented.
};

/// Fills the sizes that are 0 from the data, for the network that `config.kind` names.
///
/// @param num_classes 0: no class labels. Otherwise a UNet2D whose class_embed_type is none gets a
///                    table of that many classes where num_class_embeds is 0.
/// @throws std::invalid_argument if a size was given and disagrees with the data, or the network
///         can't take class labels.
ModelConfig resolve_model_config(ModelConfig config, int64_t channels, int64_t image_size,
                                 int64_t num_classes, const NetworkDemands& demands = {});

/// resolve_model_config for a run's network, with what the run's options demand.
RunConfig resolve_run_config(RunConfig config, int64_t channels, int64_t image_size,
                             int64_t num_classes);

/// Builds the network, its weights in channels_last float32 on the CPU, not yet initialised
/// (zeros).
///
/// @throws std::invalid_argument if an option is out of range, 0 where a size is needed, or not
///         supported; the message names the field.
std::shared_ptr<NetworkImpl> make_network(const ModelConfig& config);

/// The number of trained weights.
int64_t count_parameters(const NetworkImpl& network);

/// Draws all weights: PyTorch's default initialisation of each kind of layer, or what
/// UNet2DConfig's weight_init says. Tensor k of the state dict takes its own stream of `seed`, so
/// the values depend on the seed and the config alone, not on the device or on the platform's
/// generator. Running statistics are reset.
void initialize(NetworkImpl& network, uint64_t seed);

}  // namespace ddpm
