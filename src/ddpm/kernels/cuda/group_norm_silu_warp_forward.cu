#include "ddpm/kernels/cuda/early_launch.cuh"
#include "ddpm/kernels/cuda/group_norm_silu_block.cuh"

// The block's pass for bundles of at most 32 channels: sums over pixels by shuffles within warps,
// of which one warp then takes the statistics of all channels. Two barriers in all.
namespace ddpm::cuda {
namespace {

constexpr int kWarpBundle = 32;  // channels: a lane each
constexpr int kMostWarps = kMaxThreads / 32;
constexpr int kStatistics = 2 * kVector;  // of a thread: sums of its channels, then of squares

/// Adds up the values of all lanes of a warp whose numbers are equal modulo kLanes. A lane is left
/// with kStatistics * kLanes / 32 of its sums (one at least) at the start of `values`, the first of
/// which is number first_statistic<kLanes>().
template <int kLanes>
__device__ void sum_lanes(float (&values)[kStatistics]) {
  const int lane = static_cast<int>(threadIdx.x) % 32;
  int count = kStatistics;
#pragma unroll
  for (int mask = 16; mask >= kLanes; mask /= 2) {
    if (count == 1) {
      values[0] += __shfl_xor_sync(0xffffffff, values[0], mask);
      continue;
    }
    count /= 2;
    const bool is_upper = (lane & mask) != 0;
#pragma unroll
    for (int i = 0; i < kStatistics / 2; ++i) {
      if (i >= count) break;
      const float sent = is_upper ? values[i] : values[i + count];
      const float kept = is_upper ? values[i + count] : values[i];
      values[i] = kept + __shfl_xor_sync(0xffffffff, sent, mask);
    }
  }
}
template <int kLanes>
__host__ __device__ constexpr int kept_statistics() {
  return kLanes > 2 ? kStatistics * kLanes / 32 : 1;
}
template <int kLanes>
__device__ int first_statistic() {
  const int lane = static_cast<int>(threadIdx.x) % 32;
  return kLanes > 2 ? lane / kLanes * kept_statistics<kLanes>() : lane / 2;
}

/// z = x * factor + offset of a bundle's channels.
struct ChannelFactors {
  float factor[kWarpBundle], offset[kWarpBundle];
};

template <typename T>
__device__ float row_entry(const void* table, int64_t at) {
  return table == nullptr ? 0.0f : static_cast<float>(static_cast<const T*>(table)[at]);
}

/// What the bundle's channel `lane` is multiplied with and added to.
template <typename T>
struct ChannelAffine {
  float weight, bias;
  float added = 0, scale = 1, shift = 0;
  float first = 0;  // pixel
  __device__ ChannelAffine(const GroupNormTensors& tensors, int channel, bool is_there)
      : weight(is_there && tensors.weight != nullptr
                   ? static_cast<float>(static_cast<const T*>(tensors.weight)[channel])
                   : 1.0f),
        bias(is_there && tensors.bias != nullptr
                 ? static_cast<float>(static_cast<const T*>(tensors.bias)[channel])
                 : 0.0f) {}

  /// What the kernels before have written.
  __device__ void load(const GroupNormShape& shape, const GroupNormTensors& tensors, int64_t image,
                       int channel) {
    const int main_channels = shape.channels - shape.rest_channels;
    const bool in_rest = channel >= main_channels;
    const int width = in_rest ? shape.rest_channels : main_channels;
    first = row_entry<T>(in_rest ? tensors.x_rest : tensors.x,
                         image * shape.pixels * width + channel - (in_rest ? main_channels : 0));
    added = row_entry<T>(tensors.time_embedding, image * tensors.time_embedding_stride + channel);
    scale += row_entry<T>(tensors.scale, image * tensors.scale_stride + channel);
    shift = row_entry<T>(tensors.shift, image * tensors.scale_stride + channel);
  }
};
/// By one warp, a lane a channel: from sums of x - first and of their squares to factors.
template <typename T>
__device__ void take_factors(const GroupNormShape& shape, const GroupNormTensors& tensors,
                             const Bundle& bundle, const ChannelAffine<T>& affine,
                             const float (*partial)[2 * kWarpBundle], ChannelFactors& factors) {
  __shared__ float means[kWarpBundle], squares[kWarpBundle];
  const int lane = static_cast<int>(threadIdx.x);
  const int warps = bundle.threads / 32;
  const int per_group = shape.channels / shape.groups;
  const float pixels = static_cast<float>(shape.pixels);
  const float each_pixel = 1.0f / pixels;
  const float each_channel = 1.0f / static_cast<float>(per_group);
  float sum = 0, square = 0;
#pragma unroll 4
  for (int w = 0; w < warps; ++w) {
    sum += partial[w][lane];
    square += partial[w][kWarpBundle + lane];
  }
  const float off = sum * each_pixel;
  means[lane] = affine.first + affine.added + off;
  squares[lane] = square - sum * off;
  __syncwarp();
  if (lane >= bundle.channels) return;
  const int begin = lane / per_group * per_group;
  float mean = 0, within = 0, between = 0;
#pragma unroll 4
  for (int c = begin; c < begin + per_group; ++c) {
    mean += means[c];
    within += squares[c];
  }
  mean *= each_channel;
#pragma unroll 4
  for (int c = begin; c < begin + per_group; ++c) between += (means[c] - mean) * (means[c] - mean);
  const float variance = (within + pixels * between) * each_pixel * each_channel;
  const float rstd = rsqrtf(variance + shape.eps);
  if (lane == begin) {
    const int first_channel = static_cast<int>(blockIdx.x) * bundle.channels;
    const int group =
        static_cast<int>(blockIdx.y) * shape.groups + (first_channel + lane) / per_group;
    if (tensors.mean != nullptr) tensors.mean[group] = mean;
    if (tensors.rstd != nullptr) tensors.rstd[group] = rstd;
  }
  const float factor = affine.weight * rstd;
  factors.factor[lane] = factor * affine.scale;
  factors.offset[lane] =
      (affine.bias + (affine.added - mean) * factor) * affine.scale + affine.shift;
}

template <typename T, int kHeld, int kLanes>
__global__ void __launch_bounds__(kMaxThreads)
    warp_forward_kernel(GroupNormShape shape, Bundle bundle, GroupNormTensors tensors, T* y) {
  __shared__ float partial[kMostWarps][2 * kWarpBundle];
  __shared__ ChannelFactors factors;
  let_next_kernel_begin();
  const Place place(shape, bundle);
  const int channel = place.channel();
  const int lane = static_cast<int>(threadIdx.x);
  const bool takes_channel = lane < bundle.channels;
  ChannelAffine<T> affine(tensors, place.first_channel + lane, takes_channel);
  const int main_channels = shape.channels - shape.rest_channels;
  const bool in_rest = channel >= main_channels;  // all 8 channels of a thread are, or none
  const int width = in_rest ? shape.rest_channels : main_channels;
  const T* const map = static_cast<const T*>(in_rest ? tensors.x_rest : tensors.x);
  const T* const image = map + static_cast<int64_t>(place.image) * shape.pixels * width + channel -
                         (in_rest ? main_channels : 0);
  Pixels<T, kHeld> pixels{image + static_cast<int64_t>(place.row) * width,
                          static_cast<int64_t>(bundle.rows) * width,
                          place.count,
                          {}};
  wait_for_previous_kernel();
  pixels.load();
  const Packed<T> first_packed = load_packed(image);
  if (takes_channel) affine.load(shape, tensors, place.image, place.first_channel + lane);
  float first[kVector], statistics[kStatistics] = {};
  unpack(first_packed, first);
  pixels.each([&](int, const Packed<T>& packed) {
    float x[kVector];
    unpack(packed, x);
#pragma unroll
    for (int c = 0; c < kVector; ++c) {
      const float off = x[c] - first[c];
      statistics[c] += off;
      statistics[kVector + c] = fmaf(off, off, statistics[kVector + c]);
    }
  });
  sum_lanes<kLanes>(statistics);
#pragma unroll
  for (int i = 0; i < kept_statistics<kLanes>(); ++i) {
    const int number = first_statistic<kLanes>() + i;
    partial[lane / 32][number / kVector * kWarpBundle + place.lane * kVector + number % kVector] =
        statistics[i];
  }
  __syncthreads();
  if (lane < 32) take_factors(shape, tensors, bundle, affine, partial, factors);
  __syncthreads();
  float factor[kVector], offset[kVector];
#pragma unroll
  for (int c = 0; c < kVector; ++c) {
    factor[c] = factors.factor[place.lane * kVector + c];
    offset[c] = factors.offset[place.lane * kVector + c];
  }
  const int64_t step = static_cast<int64_t>(bundle.rows) * shape.channels;
  pixels.each([&](int i, const Packed<T>& packed) {
    float z[kVector];
    unpack(packed, z);
#pragma unroll
    for (int c = 0; c < kVector; ++c) {
      z[c] = fmaf(z[c], factor[c], offset[c]);
      if (shape.silu) z[c] *= sigmoid(z[c]);
    }
    store_vector(y + place.offset + i * step, z);
  });
}

template <typename T, int kLanes>
cudaError_t warp_forward(const GroupNormShape& shape, const Bundle& bundle,
                         const GroupNormTensors& tensors, void* y, cudaStream_t stream) {
  const EarlyLaunch launch{.blocks = grid_of(shape, bundle),
                           .threads = dim3(static_cast<unsigned>(bundle.threads)),
                           .shared_bytes = 0,
                           .stream = stream};
  return with_held(bundle.held, [&]<int kHeld>() {
    return launch_early(launch, warp_forward_kernel<T, kHeld, kLanes>, shape, bundle, tensors,
                        static_cast<T*>(y));
  });
}

template <typename T>
cudaError_t warp_forward(const GroupNormShape& shape, const GroupNormTensors& tensors, void* y,
                         cudaStream_t stream) {
  const Bundle bundle = make_bundle(shape);
  switch (bundle.lanes) {
    case 1:
      return warp_forward<T, 1>(shape, bundle, tensors, y, stream);
    case 2:
      return warp_forward<T, 2>(shape, bundle, tensors, y, stream);
    default:
      return warp_forward<T, 4>(shape, bundle, tensors, y, stream);
  }
}

}  // namespace

bool group_norm_silu_suits_warps(const GroupNormShape& shape) {
  const int channels = bundle_channels(shape);
  return shape.dropout == 0 && (channels == 8 || channels == 16 || channels == kWarpBundle);
}

cudaError_t group_norm_silu_warp_forward(const GroupNormShape& shape,
                                         const GroupNormTensors& tensors, void* y,
                                         cudaStream_t stream) {
  return shape.bf16 ? warp_forward<__nv_bfloat16>(shape, tensors, y, stream)
                    : warp_forward<float>(shape, tensors, y, stream);
}

}  // namespace ddpm::cuda
