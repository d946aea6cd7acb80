#include <algorithm>

#include "ddpm/kernels/cuda/sampler_update_kernels.h"

namespace ddpm::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kAccessBytes = 16;
constexpr int kCoefficientBytes = 3072;  // of a launch's arguments, which may take 4 KB

/// Those of some images, image by image.
template <typename T>
struct Coefficients {
  static constexpr int kMost = kCoefficientBytes / static_cast<int>(sizeof(T));
  T of[kMost];
};

template <typename T>
struct Values {
  const T* of[kMostSamplerTerms];
};

template <typename T, int kWidth>
struct alignas(sizeof(T) * kWidth) Access {
  T of[kWidth];
};

/// A thread makes kWidth elements of image blockIdx.y.
template <typename T, int kWidth>
__global__ void __launch_bounds__(kThreads)
    sampler_update_kernel(const __grid_constant__ Values<T> values,
                          const __grid_constant__ Coefficients<T> coefficients, int terms,
                          int64_t elements, T clip_range, T* out) {
  using Part = Access<T, kWidth>;
  const int64_t thread = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  if (thread * kWidth >= elements) return;
  const auto image = static_cast<int>(blockIdx.y);
  const int64_t offset = image * elements + thread * kWidth;
  Part sum{};
  for (int k = 0; k < terms; ++k) {
    const T coefficient = coefficients.of[image * terms + k];
    if (coefficient == T(0)) continue;
    const Part value = *reinterpret_cast<const Part*>(values.of[k] + offset);
#pragma unroll
    for (int j = 0; j < kWidth; ++j) sum.of[j] += coefficient * value.of[j];
  }
#pragma unroll
  for (int j = 0; j < kWidth; ++j) {  // fmin() and fmax() would lose NaN
    if (sum.of[j] > clip_range) sum.of[j] = clip_range;
    if (sum.of[j] < -clip_range) sum.of[j] = -clip_range;
  }
  *reinterpret_cast<Part*>(out + offset) = sum;
}

template <typename T, int kWidth>
cudaError_t update_images(const SamplerTerms& terms, const double* coefficients, T* out,
                          cudaStream_t stream) {
  const int64_t most = Coefficients<T>::kMost / terms.terms;
  for (int64_t first = 0; first < terms.images; first += most) {
    const int64_t images = std::min(most, terms.images - first);
    Values<T> values{};
    for (int k = 0; k < terms.terms; ++k) {
      values.of[k] = static_cast<const T*>(terms.values[k]) + first * terms.elements;
    }
    Coefficients<T> own{};
    for (int64_t i = 0; i < images * terms.terms; ++i) {
      own.of[i] = static_cast<T>(coefficients[first * terms.terms + i]);
    }
    const int64_t threads = (terms.elements + kWidth - 1) / kWidth;
    const dim3 blocks(static_cast<unsigned>((threads + kThreads - 1) / kThreads),
                      static_cast<unsigned>(images));
    sampler_update_kernel<T, kWidth><<<blocks, kThreads, 0, stream>>>(
        values, own, terms.terms, terms.elements, static_cast<T>(terms.clip_range),
        out + first * terms.elements);
    if (const cudaError_t error = cudaGetLastError(); error != cudaSuccess) return error;
  }
  return cudaSuccess;
}

/// Whether images begin where an access of 16 bytes may.
bool is_aligned(const SamplerTerms& terms, int64_t image_bytes, const void* out) {
  const auto begins_well = [](const void* memory) {
    return reinterpret_cast<uintptr_t>(memory) % kAccessBytes == 0;
  };
  return image_bytes % kAccessBytes == 0 && begins_well(out) &&
         std::all_of(terms.values, terms.values + terms.terms, begins_well);
}

template <typename T>
cudaError_t update(const SamplerTerms& terms, const double* coefficients, void* out,
                   cudaStream_t stream) {
  constexpr int kWidth = kAccessBytes / static_cast<int>(sizeof(T));
  const auto image_bytes = terms.elements * static_cast<int64_t>(sizeof(T));
  return is_aligned(terms, image_bytes, out)
             ? update_images<T, kWidth>(terms, coefficients, static_cast<T*>(out), stream)
             : update_images<T, 1>(terms, coefficients, static_cast<T*>(out), stream);
}

}  // namespace

cudaError_t sampler_update(const SamplerTerms& terms, const double* coefficients, void* out,
                           cudaStream_t stream) {
  if (terms.images == 0 || terms.elements == 0) return cudaSuccess;
  return terms.is_double ? update<double>(terms, coefficients, out, stream)
                         : update<float>(terms, coefficients, out, stream);
}

}  // namespace ddpm::cuda
