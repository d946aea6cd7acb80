#pragma once

#include <cstdint>
#include <string>

#include "ddpm/core/tensor.h"

namespace ddpm {

/// The device that `name` means: "auto" (the first GPU, else the CPU), "cpu", "cuda" or "cuda:N".
///
/// @throws std::invalid_argument if name is none of these.
/// @throws std::runtime_error if the GPU is not there, or this LibTorch has no CUDA.
at::Device select_device(const std::string& name);

/// Prepares the process for work on the CPU. Call it once, first: it sets the number of threads
/// (0 keeps LibTorch's choice), flushes denormals to zero, and keeps freed memory for the next
/// tensor (caching_allocator.h; memory that goes back to the kernel costs a page fault a page).
///
/// @throws std::invalid_argument unless 0 <= threads <= 4096.
void configure_cpu(int64_t threads);

/// For a process that computes on `device`, once it has loaded its images: beside a GPU at most
/// four of LibTorch's threads, unless somebody has chosen how many (OMP_NUM_THREADS does, too).
/// What is left for the host, noise above all, takes far less than a step; but a team of one a core
/// waits for whichever thread the system has put aside: on a machine that others share for 13 to
/// 42 ms, where a whole step takes 12.
///
/// @param threads as configure_cpu() was given.
void limit_threads_beside(at::Device device, int64_t threads);

/// For a thread beside the one that computes: its operators no longer spread over OpenMP's threads.
/// Every thread that does so keeps a team of its own, and once the teams have more threads than
/// there are processors, GNU's OpenMP puts all of them to sleep between two operators: a small
/// network then takes twice as long.
void compute_in_this_thread_alone();

/// True if this CPU multiplies bfloat16: AVX-512 or AMX on x86, the bf16 extension on ARM.
bool cpu_computes_bf16();

/// True if a network is faster in bf16 than in fp32: on GPUs from Ampere (compute capability 8.0)
/// on, and on CPUs with AMX or ARM's bf16 extension. AVX-512's products of bfloat16 take twice as
/// long as the fewer ones that fp32 needs (docs/performance.md).
bool prefers_bf16(at::Device device);

/// Prepares the process for work on GPUs that repeats bit for bit, which an exact resume needs:
/// only deterministic algorithms, in cuDNN, cuBLAS and LibTorch. Call it once, before the first
/// tensor on a GPU. An operator that has no deterministic form throws when it is called.
void configure_gpu();

}  // namespace ddpm
