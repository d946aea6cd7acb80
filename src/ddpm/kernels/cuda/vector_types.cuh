#pragma once

#include <cstdint>
#include <cuda_bf16.h>

namespace ddpm::cuda {

inline constexpr int kVector = 8;  // channels of a thread: 16 bytes of bfloat16

/// Eight values as they are stored.
template <typename T>
struct Packed {
  uint4 words[sizeof(T) * kVector / 16];
};

template <typename T>
__device__ __forceinline__ Packed<T> load_packed(const T* from) {
  Packed<T> packed;
#pragma unroll
  for (int i = 0; i < static_cast<int>(sizeof(T)) * kVector / 16; ++i) {
    packed.words[i] = reinterpret_cast<const uint4*>(from)[i];
  }
  return packed;
}

template <typename T>
__device__ __forceinline__ void store_packed(T* to, const Packed<T>& packed) {
#pragma unroll
  for (int i = 0; i < static_cast<int>(sizeof(T)) * kVector / 16; ++i) {
    reinterpret_cast<uint4*>(to)[i] = packed.words[i];
  }
}

inline __device__ void unpack(const Packed<__nv_bfloat16>& packed, float (&out)[kVector]) {
  const auto* words = reinterpret_cast<const uint32_t*>(&packed);
#pragma unroll
  for (int i = 0; i < kVector / 2; ++i) {
    out[2 * i] = __uint_as_float(words[i] << 16);
    out[2 * i + 1] = __uint_as_float(words[i] & 0xffff0000u);
  }
}
inline __device__ void unpack(const Packed<float>& packed, float (&out)[kVector]) {
  const auto* values = reinterpret_cast<const float*>(&packed);
#pragma unroll
  for (int i = 0; i < kVector; ++i) out[i] = values[i];
}

inline __device__ void store_vector(__nv_bfloat16* to, const float (&values)[kVector]) {
  uint4 words;
  auto* pairs = reinterpret_cast<__nv_bfloat162*>(&words);
#pragma unroll
  for (int i = 0; i < kVector / 2; ++i) {
    pairs[i] = __floats2bfloat162_rn(values[2 * i], values[2 * i + 1]);
  }
  *reinterpret_cast<uint4*>(to) = words;
}
inline __device__ void store_vector(float* to, const float (&values)[kVector]) {
  reinterpret_cast<float4*>(to)[0] = make_float4(values[0], values[1], values[2], values[3]);
  reinterpret_cast<float4*>(to)[1] = make_float4(values[4], values[5], values[6], values[7]);
}

template <typename T>
__device__ void load_or(const void* from, float otherwise, float (&out)[kVector]) {
  if (from == nullptr) {
#pragma unroll
    for (int i = 0; i < kVector; ++i) out[i] = otherwise;
    return;
  }
  unpack(load_packed(static_cast<const T*>(from)), out);
}

template <typename T>
__device__ const void* row_of(const void* table, int64_t stride, int image, int channel) {
  if (table == nullptr) return nullptr;
  return static_cast<const T*>(table) + image * stride + channel;
}

/// 1 / (1 + exp(-z)), to a few units of float32's last place.
inline __device__ float sigmoid(float z) {
  constexpr float kMinusLog2E = -1.4426950408889634f;
  float e, s;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(e) : "f"(z * kMinusLog2E));
  asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(s) : "f"(1.0f + e));
  return s;
}

}  // namespace ddpm::cuda
