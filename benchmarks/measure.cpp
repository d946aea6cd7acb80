#include "measure.h"

#include <ATen/DeviceAccelerator.h>

#include <algorithm>
#include <fstream>
#include <string>

#include "ddpm/core/device.h"

namespace ddpm {
namespace {

constexpr double kMib = 1024.0 * 1024.0;

/// "VmHWM:  123 kB" of /proc/self/status; 0 where there is no such file.
double peak_resident_mib() {
  std::ifstream status("/proc/self/status");
  std::string word;
  while (status >> word) {
    double kib = 0;
    if (word == "VmHWM:" && status >> kib) return kib / 1024;
  }
  return 0;
}

}  // namespace

void synchronize(at::Device device) {
  if (!device.is_cpu()) at::accelerator::synchronizeDevice(device.index());
}

void reset_peak_memory(at::Device device) {
  if (device.is_cpu()) {
    std::ofstream("/proc/self/clear_refs") << "5";  // 5: the peak of resident memory alone
    return;
  }
  synchronize(device);
  at::accelerator::emptyCache();
  at::accelerator::resetPeakStats(device.index());
}

double peak_memory_mib(at::Device device) {
  if (device.is_cpu()) return peak_resident_mib();
  const auto stats = at::accelerator::getDeviceStats(device.index());
  return static_cast<double>(stats.reserved_bytes[0].peak) / kMib;
}

void run_group(at::Device device, const std::function<void()>& step, int64_t count) {
  for (int64_t i = 0; i < count; ++i) step();
  synchronize(device);
}

void time_steps(benchmark::State& state, at::Device device, const std::function<void()>& step,
                int64_t count) {
  while (state.KeepRunningBatch(count)) run_group(device, step, count);
}

int run_benchmarks(int argc, char** argv) {
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 2;
  configure_cpu(/*threads=*/0);
  configure_gpu();
  limit_threads_beside(select_device("auto"), /*threads=*/0);
  benchmark::RunSpecifiedBenchmarks();
  return 0;
}

}  // namespace ddpm
