// One training step and one denoising step of the CIFAR-10 DDPM network (35,746,307 parameters).
//   step_benchmark --benchmark_filter=denoise/8 --benchmark_repetitions=5
#include <benchmark/benchmark.h>

#include "ddpm/config/run_config.h"
#include "ddpm/core/device.h"
#include "ddpm/data/batch_loader.h"
#include "ddpm/data/shapes.h"
#include "ddpm/model/network.h"
#include "ddpm/training/train_step.h"

namespace ddpm {
namespace {

RunConfig cifar10_config(int64_t batch_size, Precision precision) {
  RunConfig config;
  UNet2DConfig& unet = config.model.unet2d;
  unet.sample_size = 32;
  unet.in_channels = unet.out_channels = 3;
  unet.block_out_channels = {128, 256, 256, 256};
  unet.down_block_types = {DownBlockType::kDown, DownBlockType::kAttnDown, DownBlockType::kDown,
                           DownBlockType::kDown};
  unet.up_block_types = {UpBlockType::kUp, UpBlockType::kUp, UpBlockType::kAttnUp,
                         UpBlockType::kUp};
  unet.attention_head_dim = 0;
  unet.norm_eps = 1e-6;
  unet.downsample_padding = 0;
  unet.freq_shift = 1;
  unet.flip_sin_to_cos = false;
  config.train.batch_size = batch_size;
  config.train.precision = precision;
  return config;
}

Precision precision_of(const benchmark::State& state) {
  return state.range(1) == 16 ? Precision::kBf16 : Precision::kFp32;
}

std::shared_ptr<NetworkImpl> network_of(const RunConfig& config, at::Device device) {
  auto network = make_network(config.model);
  initialize(*network, /*seed=*/0);
  network->to(device);
  return network;
}

void denoise(benchmark::State& state) {
  const at::NoGradGuard no_grad;
  const at::Device device = select_device("auto");
  const RunConfig config = cifar10_config(state.range(0), precision_of(state));
  const auto network = network_of(config, device);
  const auto dtype = config.train.precision == Precision::kBf16 ? at::kBFloat16 : at::kFloat;
  network->to(dtype);
  network->eval();
  const Tensor x = at::randn({state.range(0), 3, 32, 32}, at::device(device).dtype(dtype))
                       .contiguous(at::MemoryFormat::ChannelsLast);
  const Tensor t = at::full({state.range(0)}, 500, at::device(device).dtype(at::kLong));
  for (auto _ : state) {
    benchmark::DoNotOptimize(network->forward(x, t, {}).sum().item<double>());
  }
}

void train(benchmark::State& state) {
  const at::Device device = select_device("auto");
  const RunConfig config = cifar10_config(state.range(0), precision_of(state));
  TrainStep step(config, network_of(config, device), device);
  const ImageSet set = make_shapes(/*count=*/512, /*size=*/32, /*channels=*/3, /*seed=*/0);
  BatchLoader loader(set, state.range(0), /*seed=*/0, /*horizontal_flip=*/true, /*prefetch=*/2,
                     /*first_batch=*/0);
  int64_t number = 0;
  for (auto _ : state) {
    step.prepare(loader.next(), number++);
    step.run();
    benchmark::DoNotOptimize(step.optimizer().step.item<int64_t>());
  }
}

// Arguments: batch size, bits of the network's numbers.
BENCHMARK(denoise)
    ->ArgsProduct({{1, 8, 64, 512}, {32, 16}})
    ->Unit(benchmark::kMillisecond)
    ->UseRealTime();
BENCHMARK(train)
    ->ArgsProduct({{16, 128, 512}, {32, 16}})
    ->Unit(benchmark::kMillisecond)
    ->UseRealTime();

}  // namespace
}  // namespace ddpm

int main(int argc, char** argv) {
  ddpm::configure_cpu(/*threads=*/0);
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 2;
  benchmark::RunSpecifiedBenchmarks();
  return 0;
}
