#pragma once

#include <cstdint>
#include <optional>

#include "ddpm/core/tensor.h"
#include "ddpm/model/layers.h"

namespace ddpm {

/// Layout of a sinusoidal timestep embedding.
struct TimestepEmbeddingOptions {
  int64_t size = 128;
  bool flip_sin_to_cos = true;                    ///< true: [cos, sin]; false: [sin, cos].
  int64_t freq_shift = 0;                         ///< 0 or 1, less than size / 2.
  double scale = 1.0;                             ///< multiplies t.
  at::ScalarType dtype = at::kFloat;              ///< what it is computed in.
  std::optional<at::ScalarType> rounded_to = {};  ///< the result's; none: dtype.
};

/// Sinusoidal embedding of timesteps [Transformer, 3.5; DDPM, Appendix B]:
///
///     w_i = 10000^(-i / (half - freq_shift)),  i = 0 .. half - 1,  half = size / 2
///     [sin(s t w), cos(s t w)], s = scale, or the other way round; an odd size ends with a 0
///
/// @param t [N] int64 or float.
/// @return  [N, size] of options.rounded_to.
Tensor timestep_embedding(const Tensor& t, const TimestepEmbeddingOptions& options);

/// Two linear layers with SiLU between them; names linear_1 and linear_2.
class TimestepMlpImpl : public torch::nn::Module {
 public:
  TimestepMlpImpl(int64_t in_features, int64_t out_features, WeightInit weight_init);
  /// @param embedding [N, in_features] @return [N, out_features]
  Tensor forward(const Tensor& embedding);

 private:
  Linear linear_1_{nullptr}, linear_2_{nullptr};
};
TORCH_MODULE(TimestepMlp);

}  // namespace ddpm
