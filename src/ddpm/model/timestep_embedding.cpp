#include "ddpm/model/timestep_embedding.h"

#include <ATen/ATen.h>

#include <cmath>

namespace ddpm {

Tensor timestep_embedding(const Tensor& t, const TimestepEmbeddingOptions& options) {
  const double log_max_period = std::log(10000.0);
  const int64_t half = options.size / 2;
  const auto index = at::arange(half, t.options().dtype(options.dtype));
  const auto frequency =
      (index * -log_max_period / static_cast<double>(half - options.freq_shift)).exp();
  Tensor time = t.to(options.dtype);
  if (options.scale != 1.0) time = time * options.scale;
  const Tensor angle = time.unsqueeze(1) * frequency;
  const Tensor waves = options.flip_sin_to_cos ? at::cat({angle.cos(), angle.sin()}, /*dim=*/1)
                                               : at::cat({angle.sin(), angle.cos()}, /*dim=*/1);
  return at::constant_pad_nd(waves, {0, options.size % 2});
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
