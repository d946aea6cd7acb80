#pragma once

#include "ddpm/config/model_config.h"

namespace ddpm {

/// How a convolution or a linear layer draws its weights: uniform within
///
///     gain / sqrt(fan_in)                PyTorch's default; the bias too
///     gain sqrt(6 / (fan_in + fan_out))  xavier [Glorot & Bengio 2010, Eq. 16]; the bias is 0
struct LayerInit {
  bool xavier = false;
  double gain = 1.0;  ///< 0: weight and bias start as zeros.
  bool zero_bias = false;
};

/// Of the layers of a network that neither of the two below covers.
LayerInit plain_init(WeightInit scheme);

/// Of the layer that ends a residual branch, or the network.
LayerInit last_init(WeightInit scheme);

/// Of to_q, to_k and to_v. [EDM, DDPM++] draws the three as one layer with three times the outputs,
/// times sqrt(0.2): each of ours has the same bound.
LayerInit attention_init(WeightInit scheme);

}  // namespace ddpm
