#include "ddpm/core/device.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#ifdef DDPM_CUDA
#include <c10/cuda/CUDAException.h>
#endif

#include <charconv>
#include <cstdlib>
#include <malloc.h>
#include <string_view>
#ifdef _OPENMP
#include <omp.h>
#endif
#if defined(__x86_64__)
#include <cpuid.h>
#elif defined(__aarch64__) && defined(__linux__)
#include <sys/auxv.h>
#endif

#include "ddpm/core/amx.h"
#include "ddpm/core/caching_allocator.h"
#include "ddpm/core/check.h"

namespace ddpm {
namespace {

constexpr std::string_view kIndexedPrefix = "cuda:";

at::Device select_gpu(const std::string& name, int64_t index) {
  check_state(at::hasCUDA(),
              "[select_device] no GPU: expected a LibTorch with CUDA and a GPU for '", name,
              "', got a machine without");
  const auto count = static_cast<int64_t>(at::getNumGPUs());
  check_state(index < count, "[select_device] no such GPU: expected a number below ", count,
              ", got '", name, "'");
  return {at::kCUDA, static_cast<at::DeviceIndex>(index)};
}

#if defined(__x86_64__)
/// AVX512_BF16 is bit 5 of EAX in leaf 7, subleaf 1; AMX_BF16 is bit 22 of EDX in leaf 7, subleaf
/// 0.
bool x86_computes_bf16() {
  if (__builtin_cpu_supports("avx512f") == 0) return false;  // nor if the system saves no state
  unsigned a = 0, b = 0, c = 0, d = 0;
  const bool amx = __get_cpuid_count(7, 0, &a, &b, &c, &d) != 0 && (d >> 22 & 1) != 0;
  const bool avx512 = __get_cpuid_count(7, 1, &a, &b, &c, &d) != 0 && (a >> 5 & 1) != 0;
  return amx || avx512;
}
#endif

}  // namespace

bool cpu_computes_bf16() {
#if defined(__x86_64__)
  static const bool computes = x86_computes_bf16();
  return computes;
#elif defined(__aarch64__) && defined(__linux__)
  return (getauxval(AT_HWCAP2) >> 14 & 1) != 0;  // HWCAP2_BF16
#else
  return false;
#endif
}

bool prefers_bf16(at::Device device) {
#if defined(__x86_64__)
  if (device.is_cpu()) return cpu_has_amx();
#else
  if (device.is_cpu()) return cpu_computes_bf16();
#endif
#ifdef DDPM_CUDA
  constexpr int kAmpere = 8;
  int major = 0;
  C10_CUDA_CHECK(cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device.index()));
  return major >= kAmpere;
#else
  return false;
#endif
}

at::Device select_device(const std::string& name) {
  if (name == "auto") return at::hasCUDA() ? at::Device(at::kCUDA, 0) : at::Device(at::kCPU);
  if (name == "cpu") return at::kCPU;
  if (name == "cuda") return select_gpu(name, 0);

  int index = -1;
  if (name.starts_with(kIndexedPrefix)) {
    const char* const end = name.data() + name.size();
    const auto parsed = std::from_chars(name.data() + kIndexedPrefix.size(), end, index);
    if (parsed.ec != std::errc() || parsed.ptr != end) index = -1;
  }
  check_arg(index >= 0, "[select_device] unknown device: expected auto, cpu, cuda or cuda:N, got '",
            name, "'");
  return select_gpu(name, index);
}

void configure_cpu(int64_t threads) {
  check_arg(threads >= 0 && threads <= 4096, "[configure_cpu] threads: expected 0 to 4096, got ",
            threads);
  if (threads > 0) at::set_num_threads(static_cast<int>(threads));
  at::globalContext().setFlushDenormal(true);  // threads that start later inherit it
  cache_cpu_tensors();
#ifdef __GLIBC__
  // What is no tensor (the operators' scratch memory) stays in the heap, up to glibc's largest
  // threshold. A sanitizer's malloc ignores both.
  mallopt(M_MMAP_THRESHOLD, 32 << 20);
  mallopt(M_TRIM_THRESHOLD, -1);
#endif
}

void limit_threads_beside(at::Device device, int64_t threads) {
  constexpr int kThreadsBesideGpu = 4;
  if (device.is_cpu() || threads > 0 || std::getenv("OMP_NUM_THREADS") != nullptr) return;
  if (at::get_num_threads() > kThreadsBesideGpu) at::set_num_threads(kThreadsBesideGpu);
}

void compute_in_this_thread_alone() {
#ifdef _OPENMP
  // Both set the thread's number at its first use, which must not come after us: the operators' in
  // LibTorch, and that of at::parallel_for in our code.
  at::get_num_threads();
  at::internal::lazy_init_num_threads();
  omp_set_num_threads(1);
#endif
}

void configure_gpu() {
  // cuBLAS repeats its results only with a workspace of its own; 0 leaves what the user has set.
  setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8", /*overwrite=*/0);
  at::globalContext().setDeterministicCuDNN(true);
  at::globalContext().setDeterministicAlgorithms(true, /*warn_only=*/false);
  at::globalContext().setDeterministicFillUninitializedMemory(
      false);  // no memory is read unwritten
}

}  // namespace ddpm
