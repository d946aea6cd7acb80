#include "ddpm/model/layers.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <cmath>

#include "ddpm/core/philox.h"
#include "ddpm/kernels/conv2d.h"
#include "ddpm/kernels/linear.h"
#include "ddpm/kernels/relu_batch_norm.h"

namespace ddpm {
namespace {

constexpr double kBatchNormMomentum = 0.1;
constexpr double kBatchNormEps = 1e-5;

RandomKey weights_key(uint64_t seed) { return {.seed = seed, .stream = RandomStream::kWeights}; }

/// Uniform in [-bound, bound), drawn in the tensor's logical order.
void draw_uniform(const Tensor& target, double bound, uint64_t seed, uint64_t tensor) {
  const Tensor draws = at::empty(target.sizes(), at::kFloat);
  fill_uniform(weights_key(seed), tensor, /*step=*/0, draws.mutable_data_ptr<float>(),
               draws.numel());
  const at::NoGradGuard no_grad;
  target.copy_(draws.mul_(2.0).sub_(1.0).mul_(bound));
}

void reset_affine(const Tensor& weight, const Tensor& bias) {
  const at::NoGradGuard no_grad;
  weight.fill_(1.0);
  bias.fill_(0.0);
}

}  // namespace

void LayerImpl::draw(const LayerInit& init, const Tensor& weight, const Tensor& bias, uint64_t seed,
                     uint64_t first) {
  const auto field = static_cast<double>(weight[0][0].numel());
  const double fan_in = static_cast<double>(weight.size(1)) * field;
  const double fan_out = static_cast<double>(weight.size(0)) * field;
  const double bound =
      init.gain * (init.xavier ? std::sqrt(6.0 / (fan_in + fan_out)) : 1.0 / std::sqrt(fan_in));
  draw_uniform(weight, bound, seed, first);
  if (bias.defined()) {
    draw_uniform(bias, init.xavier || init.zero_bias ? 0.0 : bound, seed, first + 1);
  }
}

Conv2dImpl::Conv2dImpl(int64_t in_channels, int64_t out_channels, Options options)
    : options_(options) {
  const int64_t rows = options.transposed ? in_channels : out_channels;
  const int64_t columns = options.transposed ? out_channels : in_channels;
  weight_ = register_parameter("weight", at::zeros({rows, columns, options.kernel, options.kernel})
                                             .contiguous(at::MemoryFormat::ChannelsLast));
  if (options.bias) bias_ = register_parameter("bias", at::zeros({out_channels}));
}

Conv2dArgs Conv2dImpl::args(const Tensor& x) const {
  return {.x = x,
          .weight = weight_,
          .stride = options_.stride,
          .padding = options_.padding,
          .transposed = options_.transposed,
          .upsampled = options_.upsampled,
          .packed = &packed_};
}

Tensor Conv2dImpl::forward(const Tensor& x, const Tensor& residual) {
  Conv2dArgs with_bias = args(x);
  with_bias.bias = bias_;
  with_bias.residual = residual;
  return conv2d(with_bias);
}

Conv2dFork Conv2dImpl::forward_padded_fork(const Tensor& x) {
  Conv2dArgs padded = args(x);
  padded.bias = bias_;
  padded.padded = true;
  return padded_conv2d_fork(padded);
}

Conv2dArgs Conv2dImpl::args_without_bias(const Tensor& x, const Tensor& x_rest) const {
  Conv2dArgs without_bias = args(x);
  without_bias.x_rest = x_rest;
  return without_bias;
}

Tensor Conv2dImpl::forward_without_bias(const Tensor& x, const Tensor& x_rest) {
  return conv2d(args_without_bias(x, x_rest));
}

void Conv2dImpl::initialize(uint64_t seed, uint64_t first_tensor) {
  draw(options_.init, weight_, bias_, seed, first_tensor);
}

void Conv2dImpl::prepare_for_sampling() {
  if (options_.transposed) return;
  packed_ = PackedWeight::of_conv2d(weight_, options_.stride, options_.padding, options_.upsampled);
}

LinearImpl::LinearImpl(int64_t in_features, int64_t out_features, Options options)
    : init_(options.init) {
  weight_ = register_parameter("weight", at::zeros({out_features, in_features}));
  if (options.bias) bias_ = register_parameter("bias", at::zeros({out_features}));
}

Tensor LinearImpl::forward(const Tensor& x, const Tensor& residual) {
  if (!at::GradMode::is_enabled() && packed_.is_of({weight_})) {
    return packed_linear(x, packed_, bias_, residual);
  }
  return linear({.x = x, .weight = weight_, .bias = bias_, .residual = residual});
}

void LinearImpl::prepare_for_sampling() { packed_ = PackedWeight::of_linear({weight_}); }

void LinearImpl::initialize(uint64_t seed, uint64_t first_tensor) {
  draw(init_, weight_, bias_, seed, first_tensor);
}

GroupNormImpl::GroupNormImpl(int64_t num_groups, int64_t num_channels, double eps)
    : num_groups_(num_groups), eps_(eps) {
  weight_ = register_parameter("weight", at::zeros({num_channels}));
  bias_ = register_parameter("bias", at::zeros({num_channels}));
}

GroupNormSiluArgs GroupNormImpl::args(const Tensor& x) const {
  GroupNormSiluArgs args;
  args.x = x;
  args.num_groups = num_groups_;
  args.weight = weight_;
  args.bias = bias_;
  args.eps = eps_;
  return args;
}

void GroupNormImpl::initialize(uint64_t /*seed*/, uint64_t /*first_tensor*/) {
  reset_affine(weight_, bias_);
}

BatchNorm2dImpl::BatchNorm2dImpl(int64_t num_channels) {
  weight_ = register_parameter("weight", at::zeros({num_channels}));
  bias_ = register_parameter("bias", at::zeros({num_channels}));
  running_mean_ = register_buffer("running_mean", at::zeros({num_channels}));
  running_var_ = register_buffer("running_var", at::ones({num_channels}));
  num_batches_tracked_ = register_buffer("num_batches_tracked", at::zeros({}, at::kLong));
}

Tensor BatchNorm2dImpl::forward_after_relu(const Tensor& x, const Tensor& time_embedding,
                                           const Tensor& x_bias) {
  return relu_batch_norm({.x = x,
                          .x_bias = x_bias,
                          .weight = weight_,
                          .bias = bias_,
                          .running_mean = running_mean_,
                          .running_var = running_var_,
                          .time_embedding = time_embedding,
                          .num_batches_tracked = num_batches_tracked_,
                          .momentum = kBatchNormMomentum,
                          .eps = kBatchNormEps,
                          .training = is_training()});
}

void BatchNorm2dImpl::to(at::ScalarType dtype, bool non_blocking) {
  const Tensor mean = running_mean_.detach();
  const Tensor variance = running_var_.detach();
  const Tensor batches = num_batches_tracked_.detach();
  Module::to(dtype, non_blocking);
  num_batches_tracked_.set_data(batches);
  if (dtype == at::kBFloat16) {
    running_mean_.set_data(mean.to(at::kFloat));
    running_var_.set_data(variance.to(at::kFloat));
  }
}

void BatchNorm2dImpl::initialize(uint64_t /*seed*/, uint64_t /*first_tensor*/) {
  reset_affine(weight_, bias_);
  running_mean_.fill_(0.0);
  running_var_.fill_(1.0);
  num_batches_tracked_.fill_(0);
}

EmbeddingImpl::EmbeddingImpl(int64_t num_rows, int64_t num_features) {
  weight_ = register_parameter("weight", at::zeros({num_rows, num_features}));
}

Tensor EmbeddingImpl::forward(const Tensor& index) { return at::embedding(weight_, index); }

void EmbeddingImpl::initialize(uint64_t seed, uint64_t first_tensor) {
  const Tensor draws = at::empty(weight_.sizes(), at::kFloat);
  fill_normal(weights_key(seed), first_tensor, /*step=*/0, draws.mutable_data_ptr<float>(),
              draws.numel());
  const at::NoGradGuard no_grad;
  weight_.copy_(draws);
}

void prepare_for_sampling(torch::nn::Module& network) {
  network.apply([](torch::nn::Module& module) {
    if (auto* preparable = dynamic_cast<PreparableModule*>(&module)) {
      preparable->prepare_for_sampling();
    }
  });
}

std::shared_ptr<torch::nn::Module> add_list(torch::nn::Module& parent, const std::string& name) {
  return parent.register_module(name, std::make_shared<torch::nn::Module>(name));
}

}  // namespace ddpm
