// The fused operations alone, at the sizes of the CIFAR-10 DDPM network:
//   kernels_benchmark --benchmark_filter=group_norm_silu
// bytes_per_second counts the least that must be read and written; of_copy is that rate over the
// rate of a large copy on this machine.
#include <ATen/ATen.h>
#include <benchmark/benchmark.h>
#include <torch/csrc/autograd/autograd.h>

#include <chrono>
#include <functional>
#include <string>

#include "ddpm/core/device.h"
#include "ddpm/kernels/adam_ema.h"
#include "ddpm/kernels/conv2d.h"
#include "ddpm/kernels/group_norm_silu.h"
#include "ddpm/kernels/q_sample_uint8.h"
#include "ddpm/kernels/sampler_update.h"
#include "measure.h"

namespace ddpm {
namespace {

using Call = std::function<void()>;

/// A kernel with fixed arguments, and what one call of it must do at least.
struct KernelCall {
  Call call;
  double bytes = 0;
  double flop = 0;
};

at::Device device() { return select_device("auto"); }
int64_t batch_size() { return device().is_cpu() ? 8 : 128; }
int64_t group_size() { return device().is_cpu() ? 1 : 50; }
double bytes_of(const Tensor& tensor) { return static_cast<double>(tensor.nbytes()); }

Tensor numbers(at::IntArrayRef shape, at::ScalarType dtype = at::kFloat) {
  return at::randn(shape, at::device(device()).dtype(dtype));
}

/// A map in channels_last.
Tensor image_map(int64_t channels, int64_t side, at::ScalarType dtype) {
  return numbers({batch_size(), channels, side, side}, dtype)
      .contiguous(at::MemoryFormat::ChannelsLast);
}

/// The gradients of y with respect to `inputs`, again and again.
Call backward_call(const Tensor& y, const std::vector<Tensor>& inputs) {
  const Tensor grad = at::randn_like(y);
  return [=] { torch::autograd::grad({y}, inputs, {grad}, /*retain_graph=*/true); };
}

KernelCall copy_call() {
  const int64_t count = device().is_cpu() ? 1 << 24 : 1 << 28;
  const Tensor from = numbers({count});
  const Tensor to = at::empty_like(from);
  return {.call = [=] { to.copy_(from); }, .bytes = 2 * bytes_of(from)};
}

KernelCall group_norm_silu_call(int64_t channels, int64_t side, at::ScalarType dtype,
                                bool backward) {
  const Tensor x = image_map(channels, side, dtype).requires_grad_(backward);
  GroupNormSiluArgs args;
  args.x = x;
  args.weight = numbers({channels}, dtype).requires_grad_(backward);
  args.bias = numbers({channels}, dtype).requires_grad_(backward);
  args.time_embedding = numbers({batch_size(), channels}, dtype);
  // Forward reads x and writes y; backward reads x and the gradient and writes one.
  if (!backward) return {.call = [=] { group_norm_silu(args); }, .bytes = 2 * bytes_of(x)};
  return {.call = backward_call(group_norm_silu(args), {x, args.weight, args.bias}),
          .bytes = 3 * bytes_of(x)};
}

KernelCall conv2d_call(int64_t channels, int64_t side, at::ScalarType dtype, bool backward) {
  const Tensor x = image_map(channels, side, dtype).requires_grad_(backward);
  const Conv2dArgs args{.x = x,
                        .weight = numbers({channels, channels, 3, 3}, dtype)
                                      .contiguous(at::MemoryFormat::ChannelsLast)
                                      .requires_grad_(backward),
                        .bias = numbers({channels}, dtype).requires_grad_(backward),
                        .residual = image_map(channels, side, dtype),
                        .padding = 1};
  const double flop = 2.0 * static_cast<double>(x.numel() * channels * 9);
  if (!backward) return {.call = [=] { conv2d(args); }, .flop = flop};
  return {.call = backward_call(conv2d(args), {x, args.weight, args.bias}), .flop = 2 * flop};
}

KernelCall adam_ema_call(at::ScalarType grad_dtype) {
  constexpr int64_t kWeights = 35'746'307;
  const Tensor master = numbers({kWeights});
  const Tensor grad = numbers({kWeights}, grad_dtype);
  const Tensor weights = grad_dtype == at::kBFloat16 ? at::empty_like(grad) : Tensor();
  auto state = make_adam_ema_state(master);
  state.lr.fill_(1e-4);
  // Master, both moments and the average are read and written; the gradient is read for its norm
  // too.
  const double bytes =
      8 * bytes_of(master) + 2 * bytes_of(grad) + (weights.defined() ? bytes_of(weights) : 0.0);
  return {.call =
              [=]() mutable {
                adam_ema_step({.max_grad_norm = 1.0}, state, master, grad, /*loss=*/{}, weights);
              },
          .bytes = bytes};
}

KernelCall q_sample_uint8_call(at::ScalarType dtype) {
  constexpr int64_t kTimesteps = 1000;
  const Tensor noise = numbers({batch_size(), 3, 32, 32});
  const auto on_device = at::TensorOptions(device());
  const QSampleUint8Args args{
      .images = at::randint(256, noise.sizes(), on_device.dtype(at::kByte)),
      .flip = at::randint(2, {batch_size()}, on_device.dtype(at::kBool)),
      .t = at::randint(kTimesteps, {batch_size()}, on_device.dtype(at::kLong)),
      .noise = noise,
      .sqrt_alphas_cumprod = at::rand({kTimesteps}, on_device),
      .sqrt_one_minus_alphas_cumprod = at::rand({kTimesteps}, on_device),
      .x_t_dtype = dtype};
  const double x_t_bytes = static_cast<double>(noise.numel() * at::elementSize(dtype));
  return {.call = [=] { q_sample_uint8(args); },
          .bytes = bytes_of(args.images) + 2 * bytes_of(noise) + x_t_bytes};
}

KernelCall sampler_update_call() {
  const Tensor x = numbers({batch_size(), 3, 32, 32});
  const std::vector<UpdateTerm> terms{{x, 0.9}, {at::randn_like(x), 0.2}, {at::randn_like(x), 0.1}};
  return {.call = [=] { sampler_update(terms); }, .bytes = 4 * bytes_of(x)};
}

/// Bytes a second that a large copy reads and writes; measured once.
double copy_rate() {
  static const double rate = [] {
    constexpr int64_t kCopies = 30;
    const KernelCall copy = copy_call();
    run_group(device(), copy.call, kCopies);
    const auto start = std::chrono::steady_clock::now();
    run_group(device(), copy.call, kCopies);
    const std::chrono::duration<double> elapsed = std::chrono::steady_clock::now() - start;
    return kCopies * copy.bytes / elapsed.count();
  }();
  return rate;
}

void add(const std::string& name, std::function<KernelCall()> make) {
  const auto run = [make = std::move(make)](benchmark::State& state) {
    const KernelCall kernel = make();
    run_group(device(), kernel.call, /*count=*/3);
    time_steps(state, device(), kernel.call, group_size());
    using benchmark::Counter;
    const auto per_iteration = Counter::kIsIterationInvariantRate;
    if (kernel.bytes > 0) {
      state.counters["bytes_per_second"] = Counter(kernel.bytes, per_iteration);
      state.counters["of_copy"] = Counter(kernel.bytes / copy_rate(), per_iteration);
    }
    if (kernel.flop > 0) state.counters["flop_per_second"] = Counter(kernel.flop, per_iteration);
  };
  benchmark::RegisterBenchmark(name.c_str(), run)->Unit(benchmark::kMicrosecond)->UseRealTime();
}

void add_all(at::ScalarType dtype) {
  const std::string bits = dtype == at::kBFloat16 ? "/bf16" : "/fp32";
  for (const auto& [channels, side] : {std::pair{128, 32}, {384, 32}, {256, 16}, {256, 4}}) {
    const std::string size = std::to_string(channels) + "@" + std::to_string(side);
    for (const bool backward : {false, true}) {
      const std::string end = std::string(backward ? "/backward/" : "/forward/") + size + bits;
      add("group_norm_silu" + end,
          [=] { return group_norm_silu_call(channels, side, dtype, backward); });
      add("conv2d" + end, [=] { return conv2d_call(channels, side, dtype, backward); });
    }
  }
  add("adam_ema" + bits, [=] { return adam_ema_call(dtype); });
  add("q_sample_uint8" + bits, [=] { return q_sample_uint8_call(dtype); });
}

}  // namespace
}  // namespace ddpm

int main(int argc, char** argv) {
  ddpm::add("copy", ddpm::copy_call);
  ddpm::add("sampler_update/3_terms", ddpm::sampler_update_call);
  for (const auto dtype : {at::kFloat, at::kBFloat16}) ddpm::add_all(dtype);
  return ddpm::run_benchmarks(argc, argv);
}
