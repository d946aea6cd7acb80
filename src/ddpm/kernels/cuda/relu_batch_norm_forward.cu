#include "ddpm/kernels/cuda/relu_batch_norm_sums.cuh"

namespace ddpm::cuda {
namespace {

/// Sums of relu(x + x_bias) and of its square.
template <typename T>
__global__ void __launch_bounds__(kNormThreads)
    statistics_kernel(BatchNormShape shape, Slices cut, BatchNormTensors tensors, float* partial) {
  let_next_kernel_begin();
  wait_for_previous_kernel();
  const Share share(shape, cut, Way::kBackward);
  float sums[2][kVector] = {};
  if (share.works) {
    float bias[kVector];
    load_x_bias<T>(tensors, share.channel, bias);
    const T* const maps[] = {static_cast<const T*>(tensors.x)};
    share.each<4>(shape, cut, maps, [&](int64_t, const Packed<T>(&x)[1]) {
      float positive[kVector];
      relu_of_sum(x[0], bias, positive);
#pragma unroll
      for (int c = 0; c < kVector; ++c) {
        sums[0][c] += positive[c];
        sums[1][c] += positive[c] * positive[c];
      }
    });
  }
  write_partial(shape, cut, share, sums, partial);
}

/// Mean and 1 / deviation of each channel, and the running statistics, which take the unbiased
/// variance; and the number of batches.
__global__ void __launch_bounds__(kFinishThreads)
    finish_statistics_kernel(BatchNormShape shape, int64_t rows, BatchNormTensors tensors,
                             const float* partial) {
  let_next_kernel_begin();
  wait_for_previous_kernel();
  double sums[2];
  sum_partial_rows(rows, shape.channels, partial, sums);
  if (threadIdx.x >= kVector) return;
  const int channel = static_cast<int>(blockIdx.x) * kVector + static_cast<int>(threadIdx.x);
  if (channel == 0 && tensors.num_batches_tracked != nullptr) ++*tensors.num_batches_tracked;
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
  let_next_kernel_begin();
  wait_for_previous_kernel();
  const Share share(shape, cut, shape.training ? Way::kForward : Way::kBackward);
  if (!share.works) return;
  float bias[kVector], factor[kVector], offset[kVector], time[kVector];
  load_x_bias<T>(tensors, share.channel, bias);
  unpack(load_packed(static_cast<const T*>(tensors.weight) + share.channel), factor);
  unpack(load_packed(static_cast<const T*>(tensors.bias) + share.channel), offset);
  load_or<T>(row_of<T>(tensors.time_embedding, tensors.time_stride, static_cast<int>(share.image),
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
  const T* const maps[] = {static_cast<const T*>(tensors.x)};
  share.each<4>(shape, cut, maps, [&](int64_t at, const Packed<T>(&x)[1]) {
    float value[kVector];
    relu_of_sum(x[0], bias, value);
#pragma unroll
    for (int c = 0; c < kVector; ++c) value[c] = value[c] * factor[c] + offset[c];
    store_vector(y + at, value);
  });
}

template <typename T>
cudaError_t forward(const BatchNormShape& shape, const BatchNormTensors& tensors, void* y,
                    float* scratch, cudaStream_t stream) {
  const Slices cut = slices_of(shape);
  const EarlyLaunch over_map{
      .blocks = grid_of(shape, cut), .threads = kNormThreads, .shared_bytes = 0, .stream = stream};
  if (shape.training) {
    cudaError_t launched =
        launch_early(over_map, statistics_kernel<T>, shape, cut, tensors, scratch);
    if (launched != cudaSuccess) return launched;
    launched =
        launch_early({.blocks = finish_blocks(shape),
                      .threads = kFinishThreads,
                      .shared_bytes = 0,
                      .stream = stream},
                     finish_statistics_kernel, shape, partial_rows(shape, cut), tensors, scratch);
    if (launched != cudaSuccess) return launched;
  }
  return launch_early(over_map, normalize_kernel<T>, shape, cut, tensors, static_cast<T*>(y));
}

}  // namespace

int64_t batch_norm_scratch(const BatchNormShape& shape) {
  constexpr int64_t kMostSums = 4, kCoefficients = 3;  // of a channel, backward
  return (kMostSums * partial_rows(shape, slices_of(shape)) + kCoefficients) * shape.channels;
}

cudaError_t relu_batch_norm_forward(const BatchNormShape& shape, const BatchNormTensors& tensors,
                                    void* y, float* scratch, cudaStream_t stream) {
  return shape.bf16 ? forward<__nv_bfloat16>(shape, tensors, y, scratch, stream)
                    : forward<float>(shape, tensors, y, scratch, stream);
}

}  // namespace ddpm::cuda
