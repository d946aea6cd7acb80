#include "ddpm/kernels/cuda/group_norm_silu_cluster.cuh"

namespace ddpm::cuda {
namespace {

// Per channel: sums over a slab of d_z, d_z * centred and centred, where centred = x - the group's
// mean; and what the two passes multiply by: z = x * factor + offset, d_x = d_z * factor - x *
// slope - level.
enum BackwardArray {
  kSumDz,
  kSumDzCentred,
  kSumCentred,
  kCentre,  // mean - added
  kFactor,
  kOffset,
  kWhole,  // [size, 3, share]: the sums of all slabs, of this block's share of the channels
  kBackwardArrays = kWhole + 3,
  kSlope = kSumDz,  // which have been sent by then
  kLevel = kSumDzCentred
};
using BackwardScratch = ClusterScratch<kBackwardArrays>;

#if !defined(__CUDA_ARCH__) || __CUDA_ARCH__ >= 900

constexpr int kBackwardBlocks = 3;  // of a multiprocessor

template <typename T>
__device__ void load_constants(const GroupNormShape& shape, const ClusterPlace& place,
                               const GroupNormTensors& tensors, const BackwardScratch& scratch) {
  const int channels = shape.channels;
  const int per_group = channels / shape.groups;
  const int64_t row = place.image * tensors.scale_stride;
  const int64_t time_row = place.image * tensors.time_embedding_stride;
  each_channel(shape, [&](int c) {
    const int group = place.image * shape.groups + c / per_group;
    const float centre = tensors.mean[group] - entry_or<T>(tensors.time_embedding, time_row + c, 0);
    const float stretch = 1 + entry_or<T>(tensors.scale, row + c, 0);
    const float factor = entry_or<T>(tensors.weight, c, 1) * stretch * tensors.rstd[group];
    const float offset =
        entry_or<T>(tensors.bias, c, 0) * stretch + entry_or<T>(tensors.shift, row + c, 0);
    scratch.channel[kCentre * channels + c] = centre;
    scratch.channel[kFactor * channels + c] = factor;
    scratch.channel[kOffset * channels + c] = offset - centre * factor;
  });
  __syncthreads();
}

/// d loss / d z from d loss / d y. @param factor of dropout. @param t silu(z), if that is computed.
template <NormTail kTail>
__device__ __forceinline__ float tail_gradient(float z, float d_y, float factor, float& t) {
  if constexpr (kTail == NormTail::kNone) return d_y;
  const float s = sigmoid(z);
  t = z * s;
  const float d_z = d_y * fmaf(t, 1 - s, s);
  return kTail == NormTail::kSiluDropout ? d_z * factor : d_z;
}

/// Each slab's part of the groups' sums goes to all blocks: of d_x * std, and times the normalised
/// values; the channels' sums go to the block that writes them.
__device__ void push_sums(const GroupNormShape& shape, const ClusterPlan& plan,
                          const ClusterPlace& place, const BackwardScratch& scratch, int share) {
  const cg::cluster_group cluster = cg::this_cluster();
  const int channels = shape.channels;
  const int per_group = channels / shape.groups;
  for (int g = static_cast<int>(threadIdx.x); g < shape.groups; g += kClusterThreads) {
    float sums[2] = {0, 0};
#pragma unroll 4
    for (int c = g * per_group; c < (g + 1) * per_group; ++c) {
      const float factor = scratch.channel[kFactor * channels + c];
      sums[0] += factor * scratch.channel[kSumDz * channels + c];
      sums[1] += factor * scratch.channel[kSumDzCentred * channels + c];
    }
    push_to_all(shape, plan, place, scratch.exchange, 0, g, sums[0]);
    push_to_all(shape, plan, place, scratch.exchange, 1, g, sums[1]);
  }
  each_channel(shape, [&](int c) {
    const int owner = c / share;
    float* const to = scratch.channel + kWhole * channels + place.rank * 3 * share + c % share;
#pragma unroll
    for (int k = 0; k < 3; ++k) {
      *cluster.map_shared_rank(to + k * share, owner) = scratch.channel[k * channels + c];
    }
  });
}

/// group[g] = mean of d_x * std over the group's values; group[groups + g]: times centred.
__device__ void merge_groups(const GroupNormShape& shape, const ClusterPlan& plan,
                             const BackwardScratch& scratch) {
  const float count =
      static_cast<float>(shape.channels / shape.groups) * static_cast<float>(shape.pixels);
  for (int i = static_cast<int>(threadIdx.x); i < 2 * shape.groups; i += kClusterThreads) {
    float sum = 0;
    for (int r = 0; r < plan.size; ++r) sum += scratch.exchange[r * 2 * shape.groups + i];
    scratch.group[i] = sum / count;
  }
  __syncthreads();
}

/// d_x = d_z factor - level' - centred slope, where level' and slope come from the groups' means:
/// d_x = rstd (d_normed - mean(d_normed) - normed mean(d_normed normed)).
__device__ void load_slopes(const GroupNormShape& shape, const ClusterPlace& place,
                            const GroupNormTensors& tensors, const BackwardScratch& scratch) {
  const int channels = shape.channels;
  const int per_group = channels / shape.groups;
  each_channel(shape, [&](int c) {
    const int g = c / per_group;
    const float rstd = tensors.rstd[place.image * shape.groups + g];
    const float slope = rstd * rstd * scratch.group[shape.groups + g];
    scratch.channel[kSlope * channels + c] = slope;
    scratch.channel[kLevel * channels + c] =
        scratch.group[g] - scratch.channel[kCentre * channels + c] * slope;
  });
  __syncthreads();
}

/// Gradients with one value an image and channel; each block writes its share of the channels.
template <typename T>
__device__ void write_channels(const GroupNormShape& shape, const ClusterPlan& plan,
                               const ClusterPlace& place, const GroupNormTensors& tensors,
                               const GroupNormGradients& gradients, const BackwardScratch& scratch,
                               int share) {
  const int per_group = shape.channels / shape.groups;
  const int begin = place.rank * share;
  const int count = min(share, shape.channels - begin);
  for (int i = static_cast<int>(threadIdx.x); i < count; i += kClusterThreads) {
    float sums[3] = {0, 0, 0};
    for (int r = 0; r < plan.size; ++r) {
      const float* from = scratch.channel + kWhole * shape.channels + r * 3 * share + i;
#pragma unroll
      for (int k = 0; k < 3; ++k) sums[k] += from[k * share];
    }
    const int c = begin + i;
    const int group = c / per_group;
    const float rstd = tensors.rstd[place.image * shape.groups + group];
    const float d_z = sums[0], d_z_normed = sums[1] * rstd;
    const float stretch = 1 + entry_or<T>(tensors.scale, place.image * tensors.scale_stride + c, 0);
    const float weight = entry_or<T>(tensors.weight, c, 1);
    const int64_t at = static_cast<int64_t>(place.image) * shape.channels + c;
    gradients.sums[at] = stretch * d_z;
    gradients.sums[static_cast<int64_t>(shape.images) * shape.channels + at] = stretch * d_z_normed;
    if (gradients.d_shift != nullptr) static_cast<T*>(gradients.d_shift)[at] = static_cast<T>(d_z);
    if (gradients.d_scale != nullptr) {
      const float bias = entry_or<T>(tensors.bias, c, 0);
      static_cast<T*>(gradients.d_scale)[at] = static_cast<T>(weight * d_z_normed + bias * d_z);
    }
    if (gradients.d_time_embedding != nullptr) {
      const float d_added = weight * stretch * rstd * d_z -
                            scratch.group[group] * static_cast<float>(shape.pixels) -
                            scratch.group[shape.groups + group] * rstd * rstd * sums[2];
      static_cast<T*>(gradients.d_time_embedding)[at] = static_cast<T>(d_added);
    }
  }
}

/// Starts the copies of the slabs of x, x_rest and d_y, which stand in this order in `memory`.
template <typename T>
__device__ void copy_slabs(const GroupNormShape& shape, const ClusterPlan& plan,
                           const ClusterPlace& place, const GroupNormTensors& tensors,
                           const GroupNormGradients& gradients, ChunkBarrier* barriers, T* memory) {
  const int main_channels = shape.channels - shape.rest_channels;
  T* const rest = memory + plan.pixels * main_channels;
  T* const d_y = memory + plan.pixels * shape.channels;
  const int64_t begin = static_cast<int64_t>(place.image) * shape.pixels + place.first;
  for (int i = 0; i < kChunks; ++i) {
    const int from = i * plan.chunk;
    const int to = min(place.count, from + plan.chunk);
    if (from >= to) break;
    barriers[i].expect(static_cast<uint32_t>(2 * (to - from) * shape.channels) * sizeof(T));
    copy_chunk(barriers[i], memory, static_cast<const T*>(tensors.x), begin, main_channels, from,
               to);
    copy_chunk(barriers[i], rest, static_cast<const T*>(tensors.x_rest), begin, shape.rest_channels,
               from, to);
    copy_chunk(barriers[i], d_y, static_cast<const T*>(gradients.d_y), begin, shape.channels, from,
               to);
  }
}

/// Of the output, which stands whole or in two maps.
template <typename T>
__device__ SlabLane<T> output_lane(const GroupNormShape& shape, const ClusterPlace& place, T* y,
                                   T* y_rest) {
  if (y == nullptr || y_rest != nullptr) return slab_lane(shape, place, y, y_rest);
  return slab_lane(shape, place, y);
}

template <typename T, bool kResident, NormTail kTail>
__global__ void __launch_bounds__(kClusterThreads, kBackwardBlocks)
    backward_kernel(GroupNormShape shape, ClusterPlan plan, GroupNormTensors tensors,
                    GroupNormGradients gradients) {
  extern __shared__ __align__(128) unsigned char memory[];
  __shared__ ChunkBarrier barriers[kChunks];
  const cg::cluster_group cluster = cg::this_cluster();
  cluster.barrier_arrive();  // nobody writes to a block that has not begun
  let_next_kernel_begin();
  const ClusterPlace place(shape, plan);
  SlabLane<const T> x = slab_lane(shape, place, static_cast<const T*>(tensors.x),
                                  static_cast<const T*>(tensors.x_rest));
  SlabLane<const T> d_y = slab_lane(shape, place, static_cast<const T*>(gradients.d_y));
  wait_for_previous_kernel();
  T* kept_d_z = nullptr;  // where d_y stands in shared memory: the first pass leaves d_z there
  if constexpr (kResident) {
    T* const slab = reinterpret_cast<T*>(memory);
    const int main_channels = shape.channels - shape.rest_channels;
    init_barriers(barriers);
    if (threadIdx.x == 0) {
      copy_slabs(shape, plan, place, tensors, gradients, barriers, slab);
    }
    x.base = slab + place.channel() + (place.in_rest ? (plan.pixels - 1) * main_channels : 0);
    kept_d_z = slab + plan.pixels * shape.channels + place.channel();
    d_y.base = kept_d_z;
  }
  const BackwardScratch scratch(shape, plan, memory + (kResident ? 2 * plan.map_bytes : 0));
  load_constants<T>(shape, place, tensors, scratch);
  const float kept_factor = 65536.0f / (65536.0f - floorf(shape.dropout * 65536.0f + 0.5f));
  const auto kept_of = [&](int pixel) -> uint32_t {
    if constexpr (kTail != NormTail::kSiluDropout) return 0;
    const int64_t first = static_cast<int64_t>(place.image) * shape.pixels + place.first;
    return tensors.kept[(first + pixel) * plan.lanes + place.lane];
  };
  float factor[kVector], offset[kVector];
  load_channels(scratch.channel + kFactor * shape.channels, place.channel(), factor);
  load_channels(scratch.channel + kOffset * shape.channels, place.channel(), offset);
  const auto d_z_of = [&](const float(&value)[kVector], const float(&d_out)[kVector], uint32_t kept,
                          int c, float& y) {
    const float z = fmaf(value[c], factor[c], offset[c]);
    return tail_gradient<kTail>(z, d_out[c], (kept >> c & 1) != 0 ? kept_factor : 0, y);
  };
  {
    float centre[kVector], totals[3][kVector] = {};
    const SlabLane<T> y =
        output_lane(shape, place, static_cast<T*>(gradients.y), static_cast<T*>(gradients.y_rest));
    load_channels(scratch.channel + kCentre * shape.channels, place.channel(), centre);
    each_pixel(plan, place, kResident ? barriers : nullptr, [&](int pixel) {
      float value[kVector], d_out[kVector];
      unpack(load_packed(x.base + pixel * x.step), value);
      unpack(load_packed(d_y.base + pixel * d_y.step), d_out);
      const uint32_t kept = kept_of(pixel);
      float d_z[kVector], out[kVector];
#pragma unroll
      for (int c = 0; c < kVector; ++c) {
        const float centred = value[c] - centre[c];
        d_z[c] = d_z_of(value, d_out, kept, c, out[c]);
        totals[0][c] += d_z[c];
        totals[1][c] = fmaf(d_z[c], centred, totals[1][c]);
        totals[2][c] += centred;
      }
      if constexpr (kResident) store_vector(kept_d_z + pixel * shape.channels, d_z);
      if constexpr (kTail == NormTail::kSilu) {
        if (y.base != nullptr) store_vector(y.base + static_cast<int64_t>(pixel) * y.step, out);
      }
    });
    sum_slab<3>(shape, plan, place, totals, scratch.partial, scratch.channel);
  }
  const int share = (shape.channels + plan.size - 1) / plan.size;
  cluster.barrier_wait();
  push_sums(shape, plan, place, scratch, share);
  cluster.sync();
  merge_groups(shape, plan, scratch);
  load_slopes(shape, place, tensors, scratch);
  write_channels<T>(shape, plan, place, tensors, gradients, scratch, share);

  float slope[kVector], level[kVector];
  load_channels(scratch.channel + kSlope * shape.channels, place.channel(), slope);
  load_channels(scratch.channel + kLevel * shape.channels, place.channel(), level);
  const SlabLane<T> d_x =
      slab_lane(shape, place, static_cast<T*>(gradients.d_x), static_cast<T*>(gradients.d_x_rest));
  const SlabLane<const T> d_skip = slab_lane(shape, place, static_cast<const T*>(gradients.d_skip),
                                             static_cast<const T*>(gradients.d_skip_rest));
  each_pixel(plan, place, nullptr, [&](int pixel) {
    Packed<T> skipped{};  // zeros
    if (d_skip.base != nullptr) {
      skipped = load_packed(d_skip.base + static_cast<int64_t>(pixel) * d_skip.step);
    }
    float value[kVector], d_out[kVector], out[kVector];
    unpack(load_packed(x.base + pixel * x.step), value);
    unpack(load_packed(d_y.base + pixel * d_y.step), d_out);
    unpack(skipped, out);
    if constexpr (!kResident) {
      const uint32_t kept = kept_of(pixel);
      float unused;
#pragma unroll
      for (int c = 0; c < kVector; ++c) d_out[c] = d_z_of(value, d_out, kept, c, unused);
    }
#pragma unroll
    for (int c = 0; c < kVector; ++c) {
      out[c] += fmaf(d_out[c], factor[c], -fmaf(value[c], slope[c], level[c]));
    }
    store_vector(d_x.base + static_cast<int64_t>(pixel) * d_x.step, out);
  });
}

#else
template <typename T, bool kResident, NormTail kTail>
__global__ void backward_kernel(GroupNormShape, ClusterPlan, GroupNormTensors, GroupNormGradients) {
  __trap();  // no clusters here: group_norm_silu_clusters() says so
}
#endif

template <typename T>
cudaError_t backward(const GroupNormShape& shape, const GroupNormTensors& tensors,
                     const GroupNormGradients& gradients, cudaStream_t stream) {
  const ClusterPlan plan = make_cluster_plan(shape, /*maps=*/2, &BackwardScratch::bytes);
  const int shared = BackwardScratch::bytes(shape, plan) + (plan.resident ? 2 * plan.map_bytes : 0);
  return with_tail(shape, plan.resident, [&]<bool kResident, NormTail kTail>() {
    return launch_clusters(backward_kernel<T, kResident, kTail>, shape, plan, shared, stream, shape,
                           plan, tensors, gradients);
  });
}

}  // namespace

cudaError_t group_norm_silu_cluster_backward(const GroupNormShape& shape,
                                             const GroupNormTensors& tensors,
                                             const GroupNormGradients& gradients,
                                             cudaStream_t stream) {
  const cudaError_t launched = shape.bf16
                                   ? backward<__nv_bfloat16>(shape, tensors, gradients, stream)
                                   : backward<float>(shape, tensors, gradients, stream);
  if (launched != cudaSuccess) return launched;
  return group_norm_silu_sum_images(shape, gradients, stream);
}

}  // namespace ddpm::cuda
