#include "ddpm/model/timestep_embedding.h"

#include <ATen/ATen.h>

#include "ddpm/kernels/timestep_waves.h"

namespace ddpm {

Tensor timestep_embedding(const Tensor& t, const TimestepEmbeddingOptions& options) {
  return timestep_waves(t,
                        {.size = options.size,
                         .cos_first = options.flip_sin_to_cos,
                         .freq_shift = options.freq_shift,
                         .scale = options.scale,
                         .dtype = options.dtype},
                        options.rounded_to.value_or(options.dtype));
}

TimestepMlpImpl::TimestepMlpImpl(int64_t in_features, int64_t out_features,
                                 WeightInit weight_init) {
  const LinearImpl::Options options{.init = plain_init(weight_init)};
  linear_1_ = register_module("linear_1", Linear(in_features, out_features, options));
  linear_2_ = register_module("linear_2", Linear(out_features, out_features, options));
}

Tensor TimestepMlpImpl::forward(const Tensor& embedding) {
  return linear_2_->forward(at::silu(linear_1_->forward(embedding)));
}

}  // namespace ddpm
