#pragma once

#include <cstdint>

#include "ddpm/kernels/cuda/tensor_core.cuh"

// What a warpgroup of Hopper (four warps) does with shared memory: products of matrices that stand
// in it, copies that a barrier there counts. PTX ISA 8.0, sections "Asynchronous Warpgroup Level
// Matrix Instructions", "mbarrier" and "cp.async.bulk".
namespace ddpm::cuda {

constexpr int kWarpThreads = 32, kGroupThreads = 128;

/// A barrier in shared memory: `arrivals` and the bytes that were announced end a phase.
__device__ __forceinline__ void init_barrier(uint64_t* barrier, int arrivals) {
  asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(shared_address(barrier)),
               "r"(arrivals)
               : "memory");
}
__device__ __forceinline__ void arrive(uint64_t* barrier) {
  asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(shared_address(barrier))
               : "memory");
}
/// One arrival for a warp, behind what all its threads did.
__device__ __forceinline__ void arrive_as_warp(uint64_t* barrier) {
  __syncwarp();  // an arrival says nothing of other threads' accesses
  if (threadIdx.x % kWarpThreads == 0) arrive(barrier);
}
__device__ __forceinline__ void arrive_expecting(uint64_t* barrier, int bytes) {
  asm volatile(
      "mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(shared_address(barrier)),
      "r"(bytes)
      : "memory");
}
/// Returns once the phase of this parity (0 for the first) has ended.
__device__ __forceinline__ void wait_for_phase(uint64_t* barrier, uint32_t parity) {
  asm volatile(
      "{\n"
      ".reg .pred done;\n"
      "AGAIN:\n"
      "mbarrier.try_wait.parity.shared::cta.b64 done, [%0], %1;\n"
      "@done bra DONE;\n"
      "bra AGAIN;\n"
      "DONE:\n"
      "}\n" ::"r"(shared_address(barrier)),
      "r"(parity)
      : "memory");
}

/// Starts a copy of whole 16 bytes to shared memory, which counts for the barrier.
__device__ __forceinline__ void copy_to_block(void* to, const void* from, int bytes,
                                              uint64_t* barrier) {
  asm volatile(
      "cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1], %2, [%3];" ::
          "r"(shared_address(to)),
      "l"(from), "r"(bytes), "r"(shared_address(barrier))
      : "memory");
}
/// What this thread wrote to shared memory becomes visible to products and copies.
__device__ __forceinline__ void show_writes_to_async_proxy() {
  asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
}

template <int kRegisters>
__device__ __forceinline__ void take_registers() {
  asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(kRegisters));
}
template <int kRegisters>
__device__ __forceinline__ void give_registers() {
  asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(kRegisters));
}

/// A barrier of some warps of the block alone.
__device__ __forceinline__ void meet(int barrier, int threads) {
  asm volatile("bar.sync %0, %1;" ::"r"(barrier), "r"(threads) : "memory");
}

/// Counts for such a barrier without waiting.
__device__ __forceinline__ void arrive_at(int barrier, int threads) {
  asm volatile("bar.arrive %0, %1;" ::"r"(barrier), "r"(threads) : "memory");
}

/// All threads of a cluster's blocks meet, but those that have ended; what they did in shared
/// memory before they arrived is done for those that have waited.
__device__ __forceinline__ void arrive_in_cluster() {
  asm volatile("barrier.cluster.arrive.release;" ::: "memory");
}
__device__ __forceinline__ void wait_for_cluster() {
  asm volatile("barrier.cluster.wait.acquire;" ::: "memory");
}

/// Describes a matrix of bf16 in shared memory whose rows are consecutive along k, as parts of 8
/// rows of 16 bytes each that lie one after another; 16-byte aligned, no swizzle.
///
/// @param k_bytes   From a part to the one with the next 8 values of k.
/// @param row_bytes From a part to the one with the next 8 rows.
__device__ __forceinline__ uint64_t describe_matrix(uint32_t k_bytes, uint32_t row_bytes) {
  return (static_cast<uint64_t>(k_bytes >> 4) << 16) |
         (static_cast<uint64_t>(row_bytes >> 4) << 32);
}
__device__ __forceinline__ uint64_t matrix_at(uint64_t description, uint32_t address) {
  return description | ((address & 0x3FFFF) >> 4);
}

__device__ __forceinline__ void begin_products() {
  asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
}
__device__ __forceinline__ void commit_products() {
  asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
}
/// Waits for all groups of products but the last kPending.
template <int kPending>
__device__ __forceinline__ void wait_for_products() {
  asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(kPending) : "memory");
}

// The sums of a thread, as an instruction names them and as it is given them.
#define DDPM_SUMS_TEXT                                                               \
  "{%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, "          \
  "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31, " \
  "%32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, " \
  "%48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63}, "
#define DDPM_SUMS(s)                                                                              \
  "+f"(s[0]), "+f"(s[1]), "+f"(s[2]), "+f"(s[3]), "+f"(s[4]), "+f"(s[5]), "+f"(s[6]), "+f"(s[7]), \
      "+f"(s[8]), "+f"(s[9]), "+f"(s[10]), "+f"(s[11]), "+f"(s[12]), "+f"(s[13]), "+f"(s[14]),    \
      "+f"(s[15]), "+f"(s[16]), "+f"(s[17]), "+f"(s[18]), "+f"(s[19]), "+f"(s[20]), "+f"(s[21]),  \
      "+f"(s[22]), "+f"(s[23]), "+f"(s[24]), "+f"(s[25]), "+f"(s[26]), "+f"(s[27]), "+f"(s[28]),  \
      "+f"(s[29]), "+f"(s[30]), "+f"(s[31]), "+f"(s[32]), "+f"(s[33]), "+f"(s[34]), "+f"(s[35]),  \
      "+f"(s[36]), "+f"(s[37]), "+f"(s[38]), "+f"(s[39]), "+f"(s[40]), "+f"(s[41]), "+f"(s[42]),  \
      "+f"(s[43]), "+f"(s[44]), "+f"(s[45]), "+f"(s[46]), "+f"(s[47]), "+f"(s[48]), "+f"(s[49]),  \
      "+f"(s[50]), "+f"(s[51]), "+f"(s[52]), "+f"(s[53]), "+f"(s[54]), "+f"(s[55]), "+f"(s[56]),  \
      "+f"(s[57]), "+f"(s[58]), "+f"(s[59]), "+f"(s[60]), "+f"(s[61]), "+f"(s[62]), "+f"(s[63])

/// sums [64, 128] += a [64, 16] b [128, 16]^T of a warpgroup, or = where not `add`. Of thread t,
/// sums[4 j + 2 h + i] stands in row 16 (t / 32) + t % 32 / 4 + 8 h, column 8 j + 2 (t % 4) + i.
__device__ __forceinline__ void multiply_64x128(float (&s)[64], uint64_t a, uint64_t b, bool add) {
  asm volatile(
      "{\n"
      ".reg .pred add;\n"
      "setp.ne.b32 add, %66, 0;\n"
      "wgmma.mma_async.sync.aligned.m64n128k16.f32.bf16.bf16 " DDPM_SUMS_TEXT
      "%64, %65, add, 1, 1, 0, 0;\n"
      "}\n"
      : DDPM_SUMS(s)
      : "l"(a), "l"(b), "r"(static_cast<int>(add)));
}

/// sums [64, 128] += a [64, 16] b, where a is the warpgroup's own and b [128, 16]^T, or [16, 128]
/// where kTransposed, stands in shared memory.
template <bool kTransposed>
__device__ __forceinline__ void multiply_rows(float (&s)[64], const uint32_t (&a)[4], uint64_t b,
                                              bool add) {
  asm volatile(
      "{\n"
      ".reg .pred add;\n"
      "setp.ne.b32 add, %69, 0;\n"
      "wgmma.mma_async.sync.aligned.m64n128k16.f32.bf16.bf16 " DDPM_SUMS_TEXT
      "{%64, %65, %66, %67}, %68, add, 1, 1, %70;\n"
      "}\n"
      : DDPM_SUMS(s)
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"(static_cast<int>(add)),
        "n"(kTransposed ? 1 : 0));
}

#undef DDPM_SUMS_TEXT
#undef DDPM_SUMS

}  // namespace ddpm::cuda
