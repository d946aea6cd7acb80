#include "ddpm/kernels/cuda/relu_batch_norm.cuh"

namespace ddpm::cuda {
namespace {

/// The statistics of a thread's channels.
struct Moments {
  float mean[kVector], rstd[kVector];

  __device__ Moments(const BatchNormTensors& tensors, int channel) {
#pragma unroll
    for (int c = 0; c < kVector; ++c) {
      mean[c] = tensors.mean[channel + c];
      rstd[c] = tensors.rstd[channel + c];
    }
  }
  __device__ float normed(int c, float x) const { return (fmaxf(x, 0.0f) - mean[c]) * rstd[c]; }
};

/// Sums of d_y and of d_y * normed.
template <typename T>
__global__ void __launch_bounds__(kNormThreads)
    gradient_sums_kernel(BatchNormShape shape, Slices cut, BatchNormTensors tensors, const T* d_y,
                         float* partial) {
  const Share share(shape, cut);
  float sums[2][kVector] = {};
  if (share.works) {
    const Moments moments(tensors, share.channel);
    const T* x = static_cast<const T*>(tensors.x);
    share.each(shape, cut, [&](int64_t at) {
      float value[kVector], gradient[kVector];
      unpack(load_packed(x + at), value);
      unpack(load_packed(d_y + at), gradient);
#pragma unroll
      for (int c = 0; c < kVector; ++c) {
        sums[0][c] += gradient[c];
        sums[1][c] += gradient[c] * moments.normed(c, value[c]);
      }
    });
  }
  write_partial(shape, cut, share, sums, partial);
}

/// Of all images: d_bias and d_weight, and both divided by the number of pixels into `means`.
template <typename T>
__global__ void finish_gradient_sums_kernel(BatchNormShape shape, int64_t slices,
                                            const float* partial, float* means, T* d_bias,
                                            T* d_weight) {
  const int channel = static_cast<int>(blockIdx.x) * kColumns + static_cast<int>(threadIdx.x);
  double sums[2];
  sum_partial_rows(slices, shape.channels, partial, channel, sums);
  if (threadIdx.y != 0 || channel >= shape.channels) return;
  const double count = static_cast<double>(shape.images) * shape.pixels;
  means[channel] = static_cast<float>(sums[0] / count);
  means[shape.channels + channel] = static_cast<float>(sums[1] / count);
  if (d_bias != nullptr) d_bias[channel] = static_cast<T>(static_cast<float>(sums[0]));
  if (d_weight != nullptr) d_weight[channel] = static_cast<T>(static_cast<float>(sums[1]));
}

/// Of each image: d_time_embedding.
template <typename T>
__global__ void time_gradient_kernel(BatchNormShape shape, int slices, const float* partial,
                                     T* d_time_embedding) {
  const int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i >= static_cast<int64_t>(shape.images) * shape.channels) return;
  const int64_t image = i / shape.channels;
  const int64_t channel = i % shape.channels;
  float total = 0;
  for (int s = 0; s < slices; ++s) {
    total += partial[(image * slices + s) * shape.channels + channel];
  }
  d_time_embedding[i] = static_cast<T>(total);
}

template <typename T>
__global__ void __launch_bounds__(kNormThreads)
    input_gradient_kernel(BatchNormShape shape, Slices cut, BatchNormTensors tensors, const T* d_y,
                          const float* means, T* d_x) {
  const Share share(shape, cut);
  if (!share.works) return;
  const Moments moments(tensors, share.channel);
  float factor[kVector], mean_d[kVector], mean_d_normed[kVector];
  unpack(load_packed(static_cast<const T*>(tensors.weight) + share.channel), factor);
#pragma unroll
  for (int c = 0; c < kVector; ++c) {
    factor[c] *= moments.rstd[c];
    mean_d[c] = means[share.channel + c];
    mean_d_normed[c] = means[shape.channels + share.channel + c];
  }
  const T* x = static_cast<const T*>(tensors.x);
  share.each(shape, cut, [&](int64_t at) {
    float value[kVector], gradient[kVector];
    unpack(load_packed(x + at), value);
    unpack(load_packed(d_y + at), gradient);
#pragma unroll
    for (int c = 0; c < kVector; ++c) {
      const float inner = gradient[c] - mean_d[c] - moments.normed(c, value[c]) * mean_d_normed[c];
      gradient[c] = value[c] > 0.0f ? factor[c] * inner : 0.0f;
    }
    store_vector(d_x + at, gradient);
  });
}

template <typename T>
cudaError_t backward(const BatchNormShape& shape, const BatchNormTensors& tensors,
                     const BatchNormGradients& gradients, float* scratch, cudaStream_t stream) {
  const Slices cut = slices_of(shape);
  const dim3 grid = grid_of(shape, cut);
  const T* d_y = static_cast<const T*>(gradients.d_y);
  const int64_t slices = static_cast<int64_t>(shape.images) * cut.slices;
  float* const means = scratch + 2 * slices * shape.channels;
  gradient_sums_kernel<T><<<grid, kNormThreads, 0, stream>>>(shape, cut, tensors, d_y, scratch);
  finish_gradient_sums_kernel<T><<<column_blocks(shape), dim3(kColumns, kSummers), 0, stream>>>(
      shape, slices, scratch, means, static_cast<T*>(gradients.d_bias),
      static_cast<T*>(gradients.d_weight));
  if (gradients.d_time_embedding != nullptr) {
    const int64_t size = static_cast<int64_t>(shape.images) * shape.channels;
    time_gradient_kernel<T>
        <<<static_cast<unsigned>((size + kNormThreads - 1) / kNormThreads), kNormThreads, 0,
           stream>>>(shape, cut.slices, scratch, static_cast<T*>(gradients.d_time_embedding));
  }
  input_gradient_kernel<T><<<grid, kNormThreads, 0, stream>>>(shape, cut, tensors, d_y, means,
                                                              static_cast<T*>(gradients.d_x));
  return cudaGetLastError();
}

}  // namespace

cudaError_t relu_batch_norm_backward(const BatchNormShape& shape, const BatchNormTensors& tensors,
                                     const BatchNormGradients& gradients, float* scratch,
                                     cudaStream_t stream) {
  return shape.bf16 ? backward<__nv_bfloat16>(shape, tensors, gradients, scratch, stream)
                    : backward<float>(shape, tensors, gradients, scratch, stream);
}

}  // namespace ddpm::cuda
