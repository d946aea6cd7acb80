#include "ddpm/kernels/cuda/early_launch.cuh"
#include "ddpm/kernels/cuda/group_norm_silu_block.cuh"

namespace ddpm::cuda {
namespace {

/// The backward pass' constants of a thread's channels.
struct ChannelConstants {
  float added[kVector], weight[kVector], bias[kVector], scale[kVector], shift[kVector];
  float mean[kVector], rstd[kVector];

  template <typename T>
  __device__ void load(const GroupNormShape& shape, const GroupNormTensors& tensors,
                       const Place& place) {
    const int channel = place.channel();
    load_or<T>(
        row_of<T>(tensors.time_embedding, tensors.time_embedding_stride, place.image, channel), 0,
        added);
    load_or<T>(static_cast<const T*>(tensors.weight) + channel, 1, weight);
    load_or<T>(static_cast<const T*>(tensors.bias) + channel, 0, bias);
    load_or<T>(row_of<T>(tensors.scale, tensors.scale_stride, place.image, channel), 0, scale);
    load_or<T>(row_of<T>(tensors.shift, tensors.scale_stride, place.image, channel), 0, shift);
    const int per_group = shape.channels / shape.groups;
#pragma unroll
    for (int c = 0; c < kVector; ++c) {
      const int group = place.image * shape.groups + (channel + c) / per_group;
      mean[c] = tensors.mean[group];
      rstd[c] = tensors.rstd[group];
    }
  }

  /// The normalised value, and d loss / d (its scaled and shifted self).
  __device__ void pixel(int c, float x, float d_y, bool silu, float& normed, float& d_z) const {
    normed = (x + added[c] - mean[c]) * rstd[c];
    d_z = d_y;
    if (!silu) return;
    const float z = (normed * weight[c] + bias[c]) * (1 + scale[c]) + shift[c];
    const float s = sigmoid(z);
    d_z = d_y * s * (1 + z * (1 - s));
  }
};

template <typename T, int kHeld>
__global__ void __launch_bounds__(kMaxThreads)
    backward_kernel(GroupNormShape shape, Bundle bundle, GroupNormTensors tensors,
                    GroupNormGradients gradients) {
  extern __shared__ float scratch[];
  __shared__ float sums[3][kMaxBundle];         // of d_z, d_z * normed, normed
  __shared__ float group_means[2][kMaxBundle];  // of weight * d_normed, and times normed
  const Place place(shape, bundle);
  const int64_t step = static_cast<int64_t>(bundle.rows) * shape.channels;
  Pixels<T, kHeld> pixels{static_cast<const T*>(tensors.x) + place.offset, step, place.count, {}};
  Pixels<T, kHeld> d_outputs{
      static_cast<const T*>(gradients.d_y) + place.offset, step, place.count, {}};
  pixels.load();
  d_outputs.load();
  ChannelConstants constants;
  constants.load<T>(shape, tensors, place);

  const auto each_pixel = [&](auto&& visit) {
    const auto both = [&](int i, const Packed<T>& packed, const Packed<T>& packed_d_y) {
      float x[kVector], d_y[kVector];
      unpack(packed, x);
      unpack(packed_d_y, d_y);
      visit(i, x, d_y);
    };
    if constexpr (kHeld > 0) {
#pragma unroll
      for (int i = 0; i < kHeld; ++i) {
        if (i < place.count) both(i, pixels.held[i], d_outputs.held[i]);
      }
    } else {
      for (int i = 0; i < place.count; ++i) {
        both(i, load_packed(pixels.base + i * step), load_packed(d_outputs.base + i * step));
      }
    }
  };

  float totals[3][kVector] = {};
  each_pixel([&](int, const float(&x)[kVector], const float(&d_y)[kVector]) {
#pragma unroll
    for (int c = 0; c < kVector; ++c) {
      float normed, d_z;
      constants.pixel(c, x[c], d_y[c], shape.silu, normed, d_z);
      totals[0][c] += d_z;
      totals[1][c] += d_z * normed;
      totals[2][c] += normed;
    }
  });
  sum_pixels<3>(bundle, place, totals, sums, scratch);

  const int thread = static_cast<int>(threadIdx.x);
  const bool owns_channel = thread < bundle.channels;
  const int own = place.first_channel + thread;
  const int64_t own_row = static_cast<int64_t>(place.image) * shape.channels + own;
  float weight = 0, grad_a = 0, grad_b = 0;
  if (owns_channel) {
    const auto* scale = static_cast<const T*>(tensors.scale);
    const float stretch =
        scale == nullptr
            ? 1.0f
            : 1.0f + static_cast<float>(scale[place.image * tensors.scale_stride + own]);
    weight = static_cast<float>(static_cast<const T*>(tensors.weight)[own]);
    const float bias = static_cast<float>(static_cast<const T*>(tensors.bias)[own]);
    grad_a = stretch * sums[0][thread];
    grad_b = stretch * sums[1][thread];
    group_means[0][thread] = weight * grad_a;
    group_means[1][thread] = weight * grad_b;
    gradients.sums[own_row] = grad_a;
    gradients.sums[static_cast<int64_t>(shape.images) * shape.channels + own_row] = grad_b;
    if (gradients.d_shift != nullptr) {
      static_cast<T*>(gradients.d_shift)[own_row] = static_cast<T>(sums[0][thread]);
    }
    if (gradients.d_scale != nullptr) {
      static_cast<T*>(gradients.d_scale)[own_row] =
          static_cast<T>(weight * sums[1][thread] + bias * sums[0][thread]);
    }
  }
  __syncthreads();
  mean_of_groups(shape, bundle, group_means[0]);
  mean_of_groups(shape, bundle, group_means[1]);
  if (owns_channel && gradients.d_time_embedding != nullptr) {
    const int group = place.image * shape.groups + own / (shape.channels / shape.groups);
    const float d_added =
        tensors.rstd[group] * (weight * grad_a - group_means[0][thread] * shape.pixels -
                               group_means[1][thread] * sums[2][thread]);
    static_cast<T*>(gradients.d_time_embedding)[own_row] = static_cast<T>(d_added);
  }

  float mean_d[kVector], mean_d_normed[kVector];
#pragma unroll
  for (int c = 0; c < kVector; ++c) {
    mean_d[c] = group_means[0][place.lane * kVector + c];
    mean_d_normed[c] = group_means[1][place.lane * kVector + c];
  }
  T* const d_x = static_cast<T*>(gradients.d_x) + place.offset;
  each_pixel([&](int i, const float(&x)[kVector], const float(&d_y)[kVector]) {
    float out[kVector];
#pragma unroll
    for (int c = 0; c < kVector; ++c) {
      float normed, d_z;
      constants.pixel(c, x[c], d_y[c], shape.silu, normed, d_z);
      const float d_normed = d_z * (1 + constants.scale[c]) * constants.weight[c];
      out[c] = constants.rstd[c] * (d_normed - mean_d[c] - normed * mean_d_normed[c]);
    }
    store_vector(d_x + i * step, out);
  });
}

template <typename T>
cudaError_t backward(const GroupNormShape& shape, const GroupNormTensors& tensors,
                     const GroupNormGradients& gradients, cudaStream_t stream) {
  const Bundle bundle = make_bundle(shape);
  const dim3 grid = grid_of(shape, bundle);
  return with_held(bundle.held, [&]<int kHeld>() {
    backward_kernel<T, kHeld><<<grid, bundle.threads, scratch_bytes(bundle), stream>>>(
        shape, bundle, tensors, gradients);
    return cudaGetLastError();
  });
}

}  // namespace

cudaError_t group_norm_silu_backward(const GroupNormShape& shape, const GroupNormTensors& tensors,
                                     const GroupNormGradients& gradients, cudaStream_t stream) {
  return shape.bf16 ? backward<__nv_bfloat16>(shape, tensors, gradients, stream)
                    : backward<float>(shape, tensors, gradients, stream);
}

}  // namespace ddpm::cuda
