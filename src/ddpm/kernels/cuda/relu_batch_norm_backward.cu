#include "ddpm/kernels/cuda/relu_batch_norm_sums.cuh"

namespace ddpm::cuda {
namespace {

// What is summed of a channel; `m` is 1 where x + x_bias > 0, else 0.
enum GradientSum { kGradient, kGradientTimesCentred, kPassedGradient, kPassed, kGradientSums };

/// Of a channel, `channels` apart: d_x = m * (scale * d_y + slope * relu(x + x_bias) + offset).
struct InputGradient {
  float* scale;
  float* slope;
  float* offset;
};

/// What the sums' second step writes.
template <typename T>
struct SummedGradients {
  T* d_x_bias;
  T* d_weight;
  T* d_bias;
  T* d_time_embedding;
  InputGradient input;
};

template <typename T>
constexpr int kSumBlocksOfSm = sizeof(T) == 2 ? 3 : 2;  // more would spill registers

template <typename T>
__global__ void __launch_bounds__(kNormThreads, kSumBlocksOfSm<T>)
    gradient_sums_kernel(BatchNormShape shape, Slices cut, BatchNormTensors tensors, const T* d_y,
                         float* partial) {
  let_next_kernel_begin();
  wait_for_previous_kernel();
  const Share share(shape, cut, Way::kBackward);
  float sums[kGradientSums][kVector] = {};
  if (share.works) {
    float bias[kVector], mean[kVector];
    load_x_bias<T>(tensors, share.channel, bias);
    unpack(load_packed(static_cast<const float*>(tensors.mean) + share.channel), mean);
    const T* const maps[] = {static_cast<const T*>(tensors.x), d_y};
    share.each<2>(shape, cut, maps, [&](int64_t, const Packed<T>(&loaded)[2]) {
      float positive[kVector], gradient[kVector];
      relu_of_sum(loaded[0], bias, positive);
      unpack(loaded[1], gradient);
#pragma unroll
      for (int c = 0; c < kVector; ++c) {
        sums[kGradient][c] += gradient[c];
        sums[kGradientTimesCentred][c] += gradient[c] * (positive[c] - mean[c]);
        if (positive[c] > 0.0f) {
          sums[kPassedGradient][c] += gradient[c];
          sums[kPassed][c] += 1.0f;
        }
      }
    });
  }
  write_partial(shape, cut, share, sums, partial);
}

/// d_time_embedding: the sums of the images' slices, a thread for a channel of an image.
template <typename T>
__device__ void write_time_gradient(const BatchNormShape& shape, int slices, int first_image,
                                    const float* partial, T* d_time_embedding) {
  const int64_t image = first_image + static_cast<int>(threadIdx.x) / kVector;
  const int64_t channel =
      static_cast<int64_t>(blockIdx.x) * kVector + static_cast<int>(threadIdx.x) % kVector;
  if (image >= shape.images) return;
  const float* const from = partial + image * slices * shape.channels + channel;
  float total = 0;
#pragma unroll 8
  for (int64_t s = 0; s < slices; ++s) total += from[s * shape.channels];
  d_time_embedding[image * shape.channels + channel] = static_cast<T>(total);
}

constexpr int kImagesOfBlock = kFinishThreads / kVector;

/// Blocks of row 0 finish the sums, the others those of each image.
template <typename T>
__global__ void __launch_bounds__(kFinishThreads)
    finish_gradient_sums_kernel(BatchNormShape shape, int slices, BatchNormTensors tensors,
                                const float* partial, SummedGradients<T> gradients) {
  let_next_kernel_begin();
  wait_for_previous_kernel();
  if (blockIdx.y > 0) {
    const int first_image = (static_cast<int>(blockIdx.y) - 1) * kImagesOfBlock;
    return write_time_gradient(shape, slices, first_image, partial, gradients.d_time_embedding);
  }
  double sums[kGradientSums];
  sum_partial_rows(static_cast<int64_t>(shape.images) * slices, shape.channels, partial, sums);
  if (threadIdx.x >= kVector) return;
  const int channel = static_cast<int>(blockIdx.x) * kVector + static_cast<int>(threadIdx.x);
  const double mean = static_cast<double>(tensors.mean[channel]);
  const double rstd = static_cast<double>(tensors.rstd[channel]);
  const double scale =
      static_cast<double>(static_cast<float>(static_cast<const T*>(tensors.weight)[channel])) *
      rstd;
  const double count = static_cast<double>(shape.images) * shape.pixels;
  const double d_weight = sums[kGradientTimesCentred] * rstd;
  const double mean_d = sums[kGradient] / count;
  const double mean_d_normed = d_weight / count;
  const double passed = sums[kPassed];
  const double passed_normed = rstd * mean * (count - passed);
  const double slope = -scale * rstd * mean_d_normed;
  gradients.input.scale[channel] = static_cast<float>(scale);
  gradients.input.slope[channel] = static_cast<float>(slope);
  gradients.input.offset[channel] = static_cast<float>(-scale * mean_d - slope * mean);
  const auto write = [&](T* to, double value) {
    if (to != nullptr) to[channel] = static_cast<T>(static_cast<float>(value));
  };
  write(gradients.d_bias, sums[kGradient]);
  write(gradients.d_weight, d_weight);
  write(gradients.d_x_bias,
        scale * (sums[kPassedGradient] - passed * mean_d - passed_normed * mean_d_normed));
}

template <typename T>
__global__ void __launch_bounds__(kNormThreads)
    input_gradient_kernel(BatchNormShape shape, Slices cut, BatchNormTensors tensors, const T* d_y,
                          InputGradient coefficients, T* d_x) {
  let_next_kernel_begin();
  wait_for_previous_kernel();
  const Share share(shape, cut, Way::kForward);
  if (!share.works) return;
  float bias[kVector], scale[kVector], slope[kVector], offset[kVector];
  load_x_bias<T>(tensors, share.channel, bias);
  unpack(load_packed(coefficients.scale + share.channel), scale);
  unpack(load_packed(coefficients.slope + share.channel), slope);
  unpack(load_packed(coefficients.offset + share.channel), offset);
  const T* const maps[] = {static_cast<const T*>(tensors.x), d_y};
  share.each<2>(shape, cut, maps, [&](int64_t at, const Packed<T>(&loaded)[2]) {
    float positive[kVector], gradient[kVector];
    relu_of_sum(loaded[0], bias, positive);
    unpack(loaded[1], gradient);
#pragma unroll
    for (int c = 0; c < kVector; ++c) {
      const float passed = scale[c] * gradient[c] + (slope[c] * positive[c] + offset[c]);
      gradient[c] = positive[c] > 0.0f ? passed : 0.0f;
    }
    store_vector(d_x + at, gradient);
  });
}

template <typename T>
cudaError_t backward(const BatchNormShape& shape, const BatchNormTensors& tensors,
                     const BatchNormGradients& gradients, float* scratch, cudaStream_t stream) {
  const Slices cut = slices_of(shape);
  const EarlyLaunch over_map{
      .blocks = grid_of(shape, cut), .threads = kNormThreads, .shared_bytes = 0, .stream = stream};
  const T* d_y = static_cast<const T*>(gradients.d_y);
  float* const behind = scratch + kGradientSums * partial_rows(shape, cut) * shape.channels;
  const InputGradient input{behind, behind + shape.channels, behind + 2 * shape.channels};
  const SummedGradients<T> summed{.d_x_bias = static_cast<T*>(gradients.d_x_bias),
                                  .d_weight = static_cast<T*>(gradients.d_weight),
                                  .d_bias = static_cast<T*>(gradients.d_bias),
                                  .d_time_embedding = static_cast<T*>(gradients.d_time_embedding),
                                  .input = input};
  const int image_blocks =
      summed.d_time_embedding == nullptr ? 0 : (shape.images + kImagesOfBlock - 1) / kImagesOfBlock;
  cudaError_t launched =
      launch_early(over_map, gradient_sums_kernel<T>, shape, cut, tensors, d_y, scratch);
  if (launched != cudaSuccess) return launched;
  launched =
      launch_early({.blocks = dim3(finish_blocks(shape), static_cast<unsigned>(1 + image_blocks)),
                    .threads = kFinishThreads,
                    .shared_bytes = 0,
                    .stream = stream},
                   finish_gradient_sums_kernel<T>, shape, cut.slices, tensors, scratch, summed);
  if (launched != cudaSuccess) return launched;
  return launch_early(over_map, input_gradient_kernel<T>, shape, cut, tensors, d_y, input,
                      static_cast<T*>(gradients.d_x));
}

}  // namespace

cudaError_t relu_batch_norm_backward(const BatchNormShape& shape, const BatchNormTensors& tensors,
                                     const BatchNormGradients& gradients, float* scratch,
                                     cudaStream_t stream) {
  return shape.bf16 ? backward<__nv_bfloat16>(shape, tensors, gradients, scratch, stream)
                    : backward<float>(shape, tensors, gradients, scratch, stream);
}

}  // namespace ddpm::cuda
