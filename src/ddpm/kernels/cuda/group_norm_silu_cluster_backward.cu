#include "ddpm/kernels/cuda/group_norm_silu_cluster_backward.cuh"

namespace ddpm::cuda {
namespace {

using namespace cluster_backward;

#if !defined(__CUDA_ARCH__) || __CUDA_ARCH__ >= 900

/// kMaps: slabs that stay in shared memory, d_y's and x's; there are slices where both do.
/// kLater: d_later is there. Without it the second pass is a third shorter.
template <typename T, int kMaps, NormTail kTail, bool kLater>
__global__ void __launch_bounds__(kClusterThreads, kBackwardBlocks)
    backward_kernel(SliceShape shape, ClusterPlan plan, GroupNormTensors tensors,
                    GroupNormGradients gradients) {
  extern __shared__ __align__(128) unsigned char memory[];
  __shared__ ChunkBarrier barriers[kChunks];
  __shared__ ArrivalBarrier arrival;
  if (threadIdx.x == 0) {
    arrival.expect(bytes_of_sums(shape, plan, static_cast<int>(blockIdx.x) % plan.size));
  }
  __syncwarp();
  arrive_at_start();  // nobody sends to a block that has not begun
  let_next_kernel_begin();
  const SlicePlace place(shape, plan, kMaps == 2 ? shape.slices : 1);
  const GroupNormShape& maps = shape.maps;
  const ClusterPlace& in_maps = place.in_maps;
  SlabLane<const T> x = slab_lane(maps, in_maps, static_cast<const T*>(tensors.x),
                                  static_cast<const T*>(tensors.x_rest));
  SlabLane<const T> d_y = slab_lane(maps, in_maps, static_cast<const T*>(gradients.d_y));
  wait_for_previous_kernel();
  T* kept_d_z = nullptr;  // where d_y stands in shared memory: the first pass leaves d_z there
  if constexpr (kMaps > 0) {
    T* const slab = reinterpret_cast<T*>(memory);
    init_barriers(barriers);
    copy_slabs<T, kMaps>(shape, plan, place, tensors, gradients, barriers, slab);
    kept_d_z = slab + place.channel();
    d_y = {kept_d_z, shape.channels};
    if constexpr (kMaps == 2) {
      const int main = place.main_channels;
      x = {slab + plan.pixels * shape.channels + place.channel() +
               (place.in_rest ? (plan.pixels - 1) * main : 0),
           place.in_rest ? shape.channels - main : main};
    }
  }
  const BackwardScratch scratch(shape, plan, memory + kMaps * plan.map_bytes);
  load_constants<T>(shape, place, tensors, scratch);
  const float kept_factor = 65536.0f / (65536.0f - floorf(shape.dropout * 65536.0f + 0.5f));
  const auto kept_of = [&](int pixel) -> uint32_t {
    if constexpr (kTail != NormTail::kSiluDropout) return 0;
    const int64_t first = static_cast<int64_t>(in_maps.image) * shape.pixels + place.first;
    return tensors.kept[(first + pixel) * (maps.channels / kVector) + in_maps.lane];
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
    float totals[3][kVector] = {};
    const SlabLane<T> y =
        output_lane(maps, in_maps, static_cast<T*>(gradients.y), static_cast<T*>(gradients.y_rest));
    LoadAhead<T, kMaps == 2> values(x, plan, place);
    each_pixel(plan, place, kMaps > 0 ? barriers : nullptr, [&](int pixel) {
      float value[kVector], d_out[kVector];
      unpack(values.take(pixel), value);
      unpack(load_packed(d_y.base + pixel * d_y.step), d_out);
      const uint32_t kept = kept_of(pixel);
      float d_z[kVector], out[kVector];
#pragma unroll
      for (int c = 0; c < kVector; ++c) {
        d_z[c] = d_z_of(value, d_out, kept, c, out[c]);
        totals[0][c] += d_z[c];
        totals[1][c] = fmaf(d_z[c], value[c], totals[1][c]);
        totals[2][c] += value[c];
      }
      if constexpr (kMaps > 0) store_vector(kept_d_z + pixel * shape.channels, d_z);
      if constexpr (kTail == NormTail::kSilu) {
        if (y.base != nullptr) store_vector(y.base + static_cast<int64_t>(pixel) * y.step, out);
      }
    });
    sum_slab<3>(shape, plan, place, totals, scratch.partial, scratch.channel);
  }
  sum_groups(shape, scratch);
  __syncwarp();  // whose lanes a barrier of the block alone leaves apart
  wait_for_start();
  send_sums(shape, plan, place, scratch, arrival);
  if (plan.size > 1) arrival.wait();
  __syncthreads();  // group has been sent, and is written again
  merge_groups(shape, plan, scratch);
  load_slopes(shape, place, tensors, scratch);
  write_channels<T>(shape, plan, place, tensors, gradients, scratch,
                    BackwardScratch::share(shape, plan));

  float slope[kVector], level[kVector];
  load_channels(scratch.channel + kSlope * shape.channels, place.channel(), slope);
  load_channels(scratch.channel + kLevel * shape.channels, place.channel(), level);
  const SlabLane<T> d_x =
      slab_lane(maps, in_maps, static_cast<T*>(gradients.d_x), static_cast<T*>(gradients.d_x_rest));
  const SlabLane<const T> d_skip = slab_lane(maps, in_maps, static_cast<const T*>(gradients.d_skip),
                                             static_cast<const T*>(gradients.d_skip_rest));
  LoadAhead<T, kMaps == 2> values(x, plan, place);
  LoadAhead<T> skipped(d_skip, plan, place);
  LoadAhead<T> later(
      slab_lane<const T>(maps, in_maps, static_cast<const T*>(gradients.d_later), nullptr), plan,
      place);
  each_pixel(plan, place, nullptr, [&](int pixel) {
    float value[kVector], d_out[kVector], out[kVector];
    unpack(values.take(pixel), value);
    unpack(load_packed(d_y.base + pixel * d_y.step), d_out);
    unpack(skipped.take(pixel), out);
    if constexpr (kMaps == 0) {
      const uint32_t kept = kept_of(pixel);
      float unused;
#pragma unroll
      for (int c = 0; c < kVector; ++c) d_out[c] = d_z_of(value, d_out, kept, c, unused);
    }
#pragma unroll
    for (int c = 0; c < kVector; ++c) {
      out[c] += fmaf(d_out[c], factor[c], -fmaf(value[c], slope[c], level[c]));
    }
    if constexpr (kLater) {
      unpack(later.take(pixel), value);
#pragma unroll
      for (int c = 0; c < kVector; ++c) out[c] += value[c];
    }
    store_vector(d_x.base + static_cast<int64_t>(pixel) * d_x.step, out);
  });
}

#else
template <typename T, int kMaps, NormTail kTail, bool kLater>
__global__ void backward_kernel(SliceShape, ClusterPlan, GroupNormTensors, GroupNormGradients) {
  __trap();  // no clusters here: group_norm_silu_clusters() says so
}
#endif

template <typename T>
cudaError_t backward(const GroupNormShape& maps_shape, const GroupNormTensors& tensors,
                     const GroupNormGradients& gradients, cudaStream_t stream) {
  const SliceShape shape = make_slices(maps_shape, /*maps=*/2, &BackwardScratch::bytes);
  ClusterPlan plan = make_cluster_plan(shape, /*maps=*/2, &BackwardScratch::bytes);
  int maps = plan.resident ? 2 : 0;
  if (!plan.good) {
    const ClusterPlan one =
        make_cluster_plan(shape, /*maps=*/1, &BackwardScratch::bytes, /*most_good_size=*/16);
    if (one.good || (one.resident && maps == 0)) {
      plan = one;
      maps = 1;
    }
  }
  const int shared = BackwardScratch::bytes(shape, plan) + maps * plan.map_bytes;
  const auto launch = [&]<int kMaps, NormTail kTail>() {
    auto* kernel = backward_kernel<T, kMaps, kTail, false>;
    if constexpr (kTail == NormTail::kSilu) {
      if (gradients.d_later != nullptr) kernel = backward_kernel<T, kMaps, kTail, true>;
    }
    return launch_clusters(kernel, shape, plan, shared, stream, shape, plan, tensors, gradients);
  };
  return with_tail(shape, maps == 2, [&]<bool kBoth, NormTail kTail>() {
    if constexpr (kBoth) return launch.template operator()<2, kTail>();
    return maps == 1 ? launch.template operator()<1, kTail>()
                     : launch.template operator()<0, kTail>();
  });
}

}  // namespace

cudaError_t group_norm_silu_cluster_backward(const GroupNormShape& shape,
                                             const GroupNormTensors& tensors,
                                             const GroupNormGradients& gradients,
                                             cudaStream_t stream) {
  return shape.bf16 ? backward<__nv_bfloat16>(shape, tensors, gradients, stream)
                    : backward<float>(shape, tensors, gradients, stream);
}

}  // namespace ddpm::cuda
