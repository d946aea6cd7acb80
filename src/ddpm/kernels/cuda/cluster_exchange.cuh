#pragma once

#include <cstdint>

// How blocks of a cluster send each other numbers without waiting for each other: a store to
// another block's shared memory that counts its bytes there, at a barrier on which that block
// waits for all that it expects.
namespace ddpm::cuda {

#if !defined(__CUDA_ARCH__) || __CUDA_ARCH__ >= 900

/// The address in block `rank` of the cluster of what stands at `address` in this block's.
__device__ __forceinline__ uint32_t address_in_block(uint32_t address, int rank) {
  uint32_t there;
  asm("mapa.shared::cluster.u32 %0, %1, %2;" : "=r"(there) : "r"(address), "r"(rank));
  return there;
}

/// A block's barrier for bytes from its cluster; used once.
class ArrivalBarrier {
 public:
  /// By one thread, before the block arrives at the cluster's start.
  __device__ void expect(uint32_t bytes) {
    asm volatile("mbarrier.init.shared::cta.b64 [%0], 1;" ::"r"(address()) : "memory");
    asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
    asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(address()),
                 "r"(bytes)
                 : "memory");
  }
  /// By every thread that reads what has come.
  __device__ void wait() {
    asm volatile(
        "{\n"
        ".reg .pred done;\n"
        "again:\n"
        "mbarrier.try_wait.parity.acquire.cluster.shared::cta.b64 done, [%0], 0;\n"
        "@!done bra again;\n"
        "}\n" ::"r"(address())
        : "memory");
  }
  __device__ uint32_t address() const {
    return static_cast<uint32_t>(__cvta_generic_to_shared(&word_));
  }

 private:
  uint64_t word_;
};

/// By all threads: says that this block has begun and its barriers stand.
__device__ __forceinline__ void arrive_at_start() {
  asm volatile("barrier.cluster.arrive.relaxed.aligned;" ::: "memory");
}
/// By all threads: returns when all blocks of the cluster have said so.
__device__ __forceinline__ void wait_for_start() {
  asm volatile("barrier.cluster.wait.aligned;" ::: "memory");
}

/// Stores 16 bytes at an address in this block's shared memory.
__device__ __forceinline__ void store_quad(uint32_t to, float4 values) {
  asm volatile("st.shared.v4.b32 [%0], {%1, %2, %3, %4};" ::"r"(to), "r"(__float_as_uint(values.x)),
               "r"(__float_as_uint(values.y)), "r"(__float_as_uint(values.z)),
               "r"(__float_as_uint(values.w))
               : "memory");
}

/// Loads 16 bytes from an address in a block's shared memory.
__device__ __forceinline__ float4 load_from_block(uint32_t from) {
  float4 values;
  asm volatile("ld.shared::cluster.v4.f32 {%0, %1, %2, %3}, [%4];"
               : "=f"(values.x), "=f"(values.y), "=f"(values.z), "=f"(values.w)
               : "r"(from)
               : "memory");
  return values;
}

/// Sends 16 bytes to an address in a block's shared memory, and counts them at its barrier.
__device__ __forceinline__ void send_quad(uint32_t to, uint32_t barrier, float4 values) {
  asm volatile(
      "st.async.weak.shared::cluster.mbarrier::complete_tx::bytes.v4.b32 [%0], {%1, %2, %3, %4}, "
      "[%5];" ::"r"(to),
      "r"(__float_as_uint(values.x)), "r"(__float_as_uint(values.y)),
      "r"(__float_as_uint(values.z)), "r"(__float_as_uint(values.w)), "r"(barrier)
      : "memory");
}

#endif

}  // namespace ddpm::cuda
