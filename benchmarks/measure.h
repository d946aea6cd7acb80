#pragma once

#include <benchmark/benchmark.h>

#include <cstdint>
#include <functional>

#include "ddpm/core/tensor.h"

namespace ddpm {

/// Waits for what was queued on a GPU; nothing to do on a CPU.
void synchronize(at::Device device);

/// Gives cached memory back that nothing uses, and starts a new peak.
void reset_peak_memory(at::Device device);

/// Since reset_peak_memory(): on a GPU what LibTorch's caching allocator holds (graphs' pools too),
/// on a CPU the process's resident memory.
double peak_memory_mib(at::Device device);

/// Runs `step` `count` times and waits for the device.
void run_group(at::Device device, const std::function<void()>& step, int64_t count);

/// Times `step` in groups of `count`, with one wait for the device a group. One iteration is one
/// step.
void time_steps(benchmark::State& state, at::Device device, const std::function<void()>& step,
                int64_t count);

/// A Google Benchmark main: prepares CPU and GPU as the ddpm program does, then runs what is
/// registered. Returns the exit status.
int run_benchmarks(int argc, char** argv);

}  // namespace ddpm
