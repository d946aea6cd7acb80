#include "ddpm/kernels/cuda/dropout.cuh"
#include "ddpm/kernels/cuda/group_norm_silu_cluster.cuh"

namespace ddpm::cuda {
namespace {

// Per channel: sums of x - first and of its squares; first + added, and mean; factor; offset.
enum ForwardArray { kSum, kSquares, kMean, kFactor, kOffset, kForwardArrays };
using ForwardScratch = ClusterScratch<kForwardArrays>;

#if !defined(__CUDA_ARCH__) || __CUDA_ARCH__ >= 900

/// What is multiplied and added after the norm, of each channel.
template <typename T>
__device__ void load_affine(const GroupNormShape& shape, const ClusterPlace& place,
                            const GroupNormTensors& tensors, const ForwardScratch& scratch) {
  const int64_t row = place.image * tensors.scale_stride;
  each_channel(shape, [&](int c) {
    const float stretch = 1 + entry_or<T>(tensors.scale, row + c, 0);
    const float factor = entry_or<T>(tensors.weight, c, 1) * stretch;
    scratch.channel[kFactor * shape.channels + c] = factor;
    scratch.channel[kOffset * shape.channels + c] =
        entry_or<T>(tensors.bias, c, 0) * stretch + entry_or<T>(tensors.shift, row + c, 0);
  });
}

/// From sums of the slab's channels to each group's mean and sum of squared differences from it,
/// which all blocks get [Chan et al. 1983].
__device__ void push_groups(const GroupNormShape& shape, const ClusterPlan& plan,
                            const ClusterPlace& place, const ForwardScratch& scratch) {
  const int channels = shape.channels;
  const float pixels = static_cast<float>(place.count);
  const float factor = place.count > 0 ? 1.0f / pixels : 0.0f;
  each_channel(shape, [&](int c) {
    const float sum = scratch.channel[kSum * channels + c];
    scratch.channel[kMean * channels + c] += sum * factor;
    scratch.channel[kSquares * channels + c] -= sum * sum * factor;
  });
  __syncthreads();
  const int per_group = channels / shape.groups;
  for (int g = static_cast<int>(threadIdx.x); g < shape.groups; g += kClusterThreads) {
    const float* means = scratch.channel + kMean * channels + g * per_group;
    const float* squares = scratch.channel + kSquares * channels + g * per_group;
    float mean = 0, within = 0, between = 0;
#pragma unroll 4
    for (int c = 0; c < per_group; ++c) {
      mean += means[c];
      within += squares[c];
    }
    mean /= static_cast<float>(per_group);
#pragma unroll 4
    for (int c = 0; c < per_group; ++c) between += (means[c] - mean) * (means[c] - mean);
    push_to_all(shape, plan, place, scratch.exchange, 0, g, mean);
    push_to_all(shape, plan, place, scratch.exchange, 1, g, within + pixels * between);
  }
}

/// The image's mean and rstd of each group, from those of its slabs.
__device__ void merge_slabs(const GroupNormShape& shape, const ClusterPlan& plan,
                            const ClusterPlace& place, const GroupNormTensors& tensors,
                            const ForwardScratch& scratch) {
  const int groups = shape.groups;
  const float per_group = static_cast<float>(shape.channels / groups);
  const float total = per_group * static_cast<float>(shape.pixels);
  for (int g = static_cast<int>(threadIdx.x); g < groups; g += kClusterThreads) {
    float mean = 0, squares = 0;
    for (int r = 0; r < plan.size; ++r) {
      const int pixels = max(0, min(plan.pixels, shape.pixels - r * plan.pixels));
      mean += scratch.exchange[2 * r * groups + g] * static_cast<float>(pixels);
    }
    mean /= static_cast<float>(shape.pixels);
    for (int r = 0; r < plan.size; ++r) {
      const int pixels = max(0, min(plan.pixels, shape.pixels - r * plan.pixels));
      const float off = scratch.exchange[2 * r * groups + g] - mean;
      squares += scratch.exchange[(2 * r + 1) * groups + g] +
                 per_group * static_cast<float>(pixels) * off * off;
    }
    const float rstd = rsqrtf(squares / total + shape.eps);
    scratch.group[g] = mean;
    scratch.group[groups + g] = rstd;
    if (place.rank == 0) {
      const int at = place.image * groups + g;
      if (tensors.mean != nullptr) tensors.mean[at] = mean;
      if (tensors.rstd != nullptr) tensors.rstd[at] = rstd;
    }
  }
  __syncthreads();
}

/// Takes the norm into the channels' factors and offsets: z = x * factor + offset.
template <typename T>
__device__ void fold_norm(const GroupNormShape& shape, const ClusterPlace& place,
                          const GroupNormTensors& tensors, const ForwardScratch& scratch) {
  const int per_group = shape.channels / shape.groups;
  const int64_t row = place.image * tensors.time_embedding_stride;
  each_channel(shape, [&](int c) {
    const int g = c / per_group;
    float& factor = scratch.channel[kFactor * shape.channels + c];
    factor *= scratch.group[shape.groups + g];
    scratch.channel[kOffset * shape.channels + c] +=
        (entry_or<T>(tensors.time_embedding, row + c, 0) - scratch.group[g]) * factor;
  });
  __syncthreads();
}

/// Starts the copies of the slabs of x and x_rest, which stand in this order in `memory`.
template <typename T>
__device__ void copy_slab(const GroupNormShape& shape, const ClusterPlan& plan,
                          const ClusterPlace& place, const GroupNormTensors& tensors,
                          ChunkBarrier* barriers, T* memory) {
  const int main_channels = shape.channels - shape.rest_channels;
  const int64_t begin = static_cast<int64_t>(place.image) * shape.pixels + place.first;
  for (int i = 0; i < kChunks; ++i) {
    const int from = i * plan.chunk;
    const int to = min(place.count, from + plan.chunk);
    if (from >= to) break;
    barriers[i].expect(static_cast<uint32_t>((to - from) * shape.channels) * sizeof(T));
    copy_chunk(barriers[i], memory, static_cast<const T*>(tensors.x), begin, main_channels, from,
               to);
    copy_chunk(barriers[i], memory + plan.pixels * main_channels,
               static_cast<const T*>(tensors.x_rest), begin, shape.rest_channels, from, to);
  }
}

template <typename T, bool kResident, NormTail kTail>
__global__ void __launch_bounds__(kClusterThreads, sizeof(T) == 2 ? 4 : 3)
    forward_kernel(GroupNormShape shape, ClusterPlan plan, GroupNormTensors tensors, T* y) {
  extern __shared__ __align__(128) unsigned char memory[];
  __shared__ ChunkBarrier barriers[kChunks];
  const cg::cluster_group cluster = cg::this_cluster();
  cluster.barrier_arrive();  // nobody writes to a block that has not begun
  let_next_kernel_begin();
  const ClusterPlace place(shape, plan);
  const int main_channels = shape.channels - shape.rest_channels;
  SlabLane<const T> lane = slab_lane(shape, place, static_cast<const T*>(tensors.x),
                                     static_cast<const T*>(tensors.x_rest));
  wait_for_previous_kernel();
  if constexpr (kResident) {
    T* const slab = reinterpret_cast<T*>(memory);
    init_barriers(barriers);
    if (threadIdx.x == 0) copy_slab(shape, plan, place, tensors, barriers, slab);
    lane.base = slab + place.channel() + (place.in_rest ? (plan.pixels - 1) * main_channels : 0);
  }
  const ForwardScratch scratch(shape, plan, memory + (kResident ? plan.map_bytes : 0));
  load_affine<T>(shape, place, tensors, scratch);

  // Sums of x - first, where first is the slab's first pixel, and of their squares.
  float first[kVector] = {}, sums[2][kVector] = {};
  if (place.works && place.count > 0) {
    if constexpr (kResident) barriers[0].wait();
    unpack(load_packed(lane.base), first);
    if (place.row == 0) {
      float added[kVector];
      load_or<T>(row_of<T>(tensors.time_embedding, tensors.time_embedding_stride, place.image,
                           place.channel()),
                 0, added);
#pragma unroll
      for (int c = 0; c < kVector; ++c) added[c] += first[c];
      store_vector(scratch.channel + kMean * shape.channels + place.channel(), added);
    }
  } else if (place.works && place.row == 0) {
    store_vector(scratch.channel + kMean * shape.channels + place.channel(), first);
  }
  each_pixel(plan, place, kResident ? barriers : nullptr, [&](int pixel) {
    float value[kVector];
    unpack(load_packed(lane.base + pixel * lane.step), value);
#pragma unroll
    for (int c = 0; c < kVector; ++c) {
      const float off = value[c] - first[c];
      sums[0][c] += off;
      sums[1][c] = fmaf(off, off, sums[1][c]);
    }
  });
  sum_slab<2>(shape, plan, place, sums, scratch.partial, scratch.channel + kSum * shape.channels);
  cluster.barrier_wait();
  push_groups(shape, plan, place, scratch);
  cluster.sync();
  merge_slabs(shape, plan, place, tensors, scratch);
  fold_norm<T>(shape, place, tensors, scratch);

  float factor[kVector], offset[kVector];
  load_channels(scratch.channel + kFactor * shape.channels, place.channel(), factor);
  load_channels(scratch.channel + kOffset * shape.channels, place.channel(), offset);
  const SlabLane<T> out = slab_lane(shape, place, y);
  each_pixel(plan, place, nullptr, [&](int pixel) {
    float z[kVector];
    unpack(load_packed(lane.base + pixel * lane.step), z);
#pragma unroll
    for (int c = 0; c < kVector; ++c) {
      z[c] = fmaf(z[c], factor[c], offset[c]);
      if constexpr (kTail != NormTail::kNone) z[c] *= sigmoid(z[c]);
    }
    if constexpr (kTail == NormTail::kSiluDropout) {
      const int64_t at =
          (static_cast<int64_t>(place.image) * shape.pixels + place.first + pixel) * plan.lanes +
          place.lane;
      const Dropout dropout(shape, tensors.random);
      tensors.kept[at] = static_cast<uint8_t>(dropout(static_cast<uint64_t>(at), z));
    }
    store_vector(out.base + static_cast<int64_t>(pixel) * out.step, z);
  });
}

#else
template <typename T, bool kResident, NormTail kTail>
__global__ void forward_kernel(GroupNormShape, ClusterPlan, GroupNormTensors, T*) {
  __trap();  // no clusters here: group_norm_silu_clusters() says so
}
#endif

template <typename T>
cudaError_t forward(const GroupNormShape& shape, const GroupNormTensors& tensors, void* y,
                    cudaStream_t stream) {
  const ClusterPlan plan = make_cluster_plan(shape, /*maps=*/1, &ForwardScratch::bytes);
  const int shared = ForwardScratch::bytes(shape, plan) + (plan.resident ? plan.map_bytes : 0);
  return with_tail(shape, plan.resident, [&]<bool kResident, NormTail kTail>() {
    return launch_clusters(forward_kernel<T, kResident, kTail>, shape, plan, shared, stream, shape,
                           plan, tensors, static_cast<T*>(y));
  });
}

}  // namespace

cudaError_t group_norm_silu_cluster_forward(const GroupNormShape& shape,
                                            const GroupNormTensors& tensors, void* y,
                                            cudaStream_t stream) {
  return shape.bf16 ? forward<__nv_bfloat16>(shape, tensors, y, stream)
                    : forward<float>(shape, tensors, y, stream);
}

}  // namespace ddpm::cuda
