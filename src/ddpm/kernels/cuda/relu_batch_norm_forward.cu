#include "ddpm/kernels/cuda/relu_batch_norm.cuh"

namespace ddpm::cuda {
namespace {

/// Sums of relu(x) and of its square.
template <typename T>
__global__ void __launch_bounds__(kNormThreads)
    statistics_kernel(BatchNormShape shape, Slices cut, const T* x, float* partial) {
  const Share share(shape, cut);
  float sums[2][kVector] = {};
  share.each(shape, cut, [&](int64_t at) {
    float value[kVector];
    unpack(load_packed(x + at), value);
#pragma unroll
    for (int c = 0; c < kVector; ++c) {
      const float positive = fmaxf(value[c], 0.0f);
      sums[0][c] += positive;
      sums[1][c] += positive * positive;
    }
  });
  write_partial(shape, cut, share, sums, partial);
}

/// Mean and 1 / deviation of each channel, and the running statistics, which take the unbiased
/// variance.
__global__ void finish_statistics_kernel(BatchNormShape shape, int64_t slices,
                                         BatchNormTensors tensors, const float* partial) {
  const int channel = static_cast<int>(blockIdx.x) * kColumns + static_cast<int>(threadIdx.x);
  double sums[2];
  sum_partial_rows(slices, shape.channels, partial, channel, sums);
  if (threadIdx.y != 0 || channel >= shape.channels) return;
  const double count = static_cast<double>(shape.images) * shape.pixels;
  const double mean = sums[0] / count;
  const double variance = fmax(sums[1] / count - mean * mean, 0.0);
  tensors.mean[channel] = static_cast<float>(mean);
  tensors.rstd[channel] = static_cast<float>(rsqrt(variance + static_cast<double>(shape.eps)));
  const double unbiased = variance * count / (count - 1);
  const double share = static_cast<double>(shape.momentum);
  float& running_mean = tensors.running_mean[channel];
  float& running_var = tensors.running_var[channel];
  running_mean = static_cast<float>((1 - share) * running_mean + share * mean);
  running_var = static_cast<float>((1 - share) * running_var + share * unbiased);
}

template <typename T>
__global__ void __launch_bounds__(kNormThreads)
    normalize_kernel(BatchNormShape shape, Slices cut, BatchNormTensors tensors, T* y) {
  const Share share(shape, cut);
  if (!share.works) return;
  float factor[kVector], offset[kVector], time[kVector];
  unpack(load_packed(static_cast<const T*>(tensors.weight) + share.channel), factor);
  unpack(load_packed(static_cast<const T*>(tensors.bias) + share.channel), offset);
  load_or<T>(row_of<T>(tensors.time_embedding, shape.channels, static_cast<int>(share.image),
                       share.channel),
             0, time);
#pragma unroll
  for (int c = 0; c < kVector; ++c) {
    const int channel = share.channel + c;
    const float mean = shape.training ? tensors.mean[channel] : tensors.running_mean[channel];
    factor[c] *=
        shape.training ? tensors.rstd[channel] : rsqrtf(tensors.running_var[channel] + shape.eps);
    offset[c] += time[c] - mean * factor[c];
  }
  const T* x = static_cast<const T*>(tensors.x);
  share.each(shape, cut, [&](int64_t at) {
    float value[kVector];
    unpack(load_packed(x + at), value);
#pragma unroll
    for (int c = 0; c < kVector; ++c) value[c] = fmaxf(value[c], 0.0f) * factor[c] + offset[c];
    store_vector(y + at, value);
  });
}

template <typename T>
cudaError_t forward(const BatchNormShape& shape, const BatchNormTensors& tensors, void* y,
                    float* scratch, cudaStream_t stream) {
  const Slices cut = slices_of(shape);
  const dim3 grid = grid_of(shape, cut);
  if (shape.training) {
    statistics_kernel<T>
        <<<grid, kNormThreads, 0, stream>>>(shape, cut, static_cast<const T*>(tensors.x), scratch);
    finish_statistics_kernel<<<column_blocks(shape), dim3(kColumns, kSummers), 0, stream>>>(
        shape, static_cast<int64_t>(shape.images) * cut.slices, tensors, scratch);
  }
  normalize_kernel<T><<<grid, kNormThreads, 0, stream>>>(shape, cut, tensors, static_cast<T*>(y));
  return cudaGetLastError();
}

}  // namespace

int64_t batch_norm_scratch(const BatchNormShape& shape) {
  return 2 * static_cast<int64_t>(shape.images) * slices_of(shape).slices * shape.channels +
         2 * static_cast<int64_t>(shape.channels);
}

cudaError_t relu_batch_norm_forward(const BatchNormShape& shape, const BatchNormTensors& tensors,
                                    void* y, float* scratch, cudaStream_t stream) {
  return shape.bf16 ? forward<__nv_bfloat16>(shape, tensors, y, scratch, stream)
                    : forward<float>(shape, tensors, y, scratch, stream);
}

}  // namespace ddpm::cuda
