#include "ddpm/kernels/cuda/early_launch.cuh"
#include "ddpm/kernels/cuda/group_norm_silu_block.cuh"

namespace ddpm::cuda {
namespace {

template <typename T, int kHeld>
__global__ void __launch_bounds__(kMaxThreads)
    forward_kernel(GroupNormShape shape, Bundle bundle, GroupNormTensors tensors, T* y) {
  extern __shared__ float scratch[];
  __shared__ float sums[1][kMaxBundle];
  let_next_kernel_begin();
  const Place place(shape, bundle);
  const int channel = place.channel();
  float factor[kVector], offset[kVector];
  load_or<T>(static_cast<const T*>(tensors.weight) + channel, 1, factor);
  load_or<T>(static_cast<const T*>(tensors.bias) + channel, 0, offset);
  wait_for_previous_kernel();
  const int64_t step = static_cast<int64_t>(bundle.rows) * shape.channels;
  const int main_channels = shape.channels - shape.rest_channels;
  const bool in_rest = channel >= main_channels;  // all 8 channels of a thread are, or none
  const int width = in_rest ? shape.rest_channels : main_channels;
  const T* const map = static_cast<const T*>(in_rest ? tensors.x_rest : tensors.x);
  const int64_t pixel = static_cast<int64_t>(place.image) * shape.pixels + place.row;
  Pixels<T, kHeld> pixels{map + pixel * width + channel - (in_rest ? main_channels : 0),
                          static_cast<int64_t>(bundle.rows) * width,
                          place.count,
                          {}};
  pixels.load();
  float added[kVector];
  load_or<T>(row_of<T>(tensors.time_embedding, tensors.time_embedding_stride, place.image, channel),
             0, added);

  float totals[1][kVector] = {};
  pixels.each([&](int, const Packed<T>& packed) {
    float x[kVector];
    unpack(packed, x);
#pragma unroll
    for (int c = 0; c < kVector; ++c) totals[0][c] += x[c] + added[c];
  });
  sum_pixels<1>(bundle, place, totals, sums, scratch);
  mean_of_groups(shape, bundle, sums[0]);
  float mean[kVector];
#pragma unroll
  for (int c = 0; c < kVector; ++c) mean[c] = sums[0][place.lane * kVector + c];
  __syncthreads();

  float squares[1][kVector] = {};
  pixels.each([&](int, const Packed<T>& packed) {
    float x[kVector];
    unpack(packed, x);
#pragma unroll
    for (int c = 0; c < kVector; ++c) {
      const float centred = x[c] + added[c] - mean[c];
      squares[0][c] += centred * centred;
    }
  });
  sum_pixels<1>(bundle, place, squares, sums, scratch);
  mean_of_groups(shape, bundle, sums[0]);

  float scale[kVector], shift[kVector];
  load_or<T>(row_of<T>(tensors.scale, tensors.scale_stride, place.image, channel), 0, scale);
  load_or<T>(row_of<T>(tensors.shift, tensors.scale_stride, place.image, channel), 0, shift);
  const int per_group = shape.channels / shape.groups;
#pragma unroll
  for (int c = 0; c < kVector; ++c) {
    const float rstd = rsqrtf(sums[0][place.lane * kVector + c] + shape.eps);
    if (place.row == 0 && (channel + c) % per_group == 0) {
      const int group = place.image * shape.groups + (channel + c) / per_group;
      if (tensors.mean != nullptr) tensors.mean[group] = mean[c];
      if (tensors.rstd != nullptr) tensors.rstd[group] = rstd;
    }
    factor[c] *= rstd;
    offset[c] += (added[c] - mean[c]) * factor[c];
    factor[c] *= 1 + scale[c];
    offset[c] = offset[c] * (1 + scale[c]) + shift[c];
  }
  pixels.each([&](int i, const Packed<T>& packed) {
    float z[kVector];
    unpack(packed, z);
#pragma unroll
    for (int c = 0; c < kVector; ++c) {
      z[c] = z[c] * factor[c] + offset[c];
      if (shape.silu) z[c] *= sigmoid(z[c]);
    }
    store_vector(y + place.offset + i * step, z);
  });
}

template <typename T>
cudaError_t forward(const GroupNormShape& shape, const GroupNormTensors& tensors, void* y,
                    cudaStream_t stream) {
  const Bundle bundle = make_bundle(shape);
  const EarlyLaunch launch{.blocks = grid_of(shape, bundle),
                           .threads = dim3(static_cast<unsigned>(bundle.threads)),
                           .shared_bytes = static_cast<int>(scratch_bytes(bundle)),
                           .stream = stream};
  return with_held(bundle.held, [&]<int kHeld>() {
    return launch_early(launch, forward_kernel<T, kHeld>, shape, bundle, tensors,
                        static_cast<T*>(y));
  });
}

}  // namespace

int bundle_channels(const GroupNormShape& shape) {
  constexpr int kGoodBundle = 32;  // channels, whose bytes of a pixel are whole sectors
  constexpr int kFewBlocks = 132;  // narrower bundles make more blocks, which share the latency
  if (shape.groups < 1 || shape.channels % shape.groups != 0) return 0;
  const int per_group = shape.channels / shape.groups;
  const int wanted =
      shape.images * shape.channels >= kFewBlocks * kGoodBundle ? kGoodBundle : kVector;
  int largest = 0;
  for (int channels = kVector; channels <= kMaxBundle; channels += kVector) {
    if (channels % per_group != 0 || shape.channels % channels != 0) continue;
    largest = channels;
    if (channels >= wanted) break;
  }
  return largest;
}

Bundle make_bundle(const GroupNormShape& shape) {
  Bundle bundle;
  bundle.channels = bundle_channels(shape);
  bundle.lanes = bundle.channels / kVector;
  for (bundle.threads = 128; bundle.threads < kMaxThreads; bundle.threads *= 2) {
    const int rows = bundle.threads / bundle.lanes;
    if (rows * 2 >= shape.pixels) break;  // two pixels a thread keep enough loads in flight
  }
  bundle.rows = bundle.threads / bundle.lanes;
  const int each = (shape.pixels + bundle.rows - 1) / bundle.rows;
  for (const int held : {1, 2, 4, kMostHeld}) {
    if (bundle.held == 0 && each <= held) bundle.held = held;
  }
  return bundle;
}

bool group_norm_silu_fits(const GroupNormShape& shape) {
  return shape.images > 0 && shape.images <= 65535 && shape.pixels > 0 &&
         shape.rest_channels % kVector == 0 && bundle_channels(shape) > 0;
}

bool group_norm_silu_suits_blocks(const GroupNormShape& shape) {
  constexpr int kFewImages = 8;
  return shape.images <= kFewImages && shape.dropout == 0 && group_norm_silu_fits(shape);
}

cudaError_t group_norm_silu_forward(const GroupNormShape& shape, const GroupNormTensors& tensors,
                                    void* y, cudaStream_t stream) {
  if (group_norm_silu_suits_warps(shape)) {
    return group_norm_silu_warp_forward(shape, tensors, y, stream);
  }
  return shape.bf16 ? forward<__nv_bfloat16>(shape, tensors, y, stream)
                    : forward<float>(shape, tensors, y, stream);
}

}  // namespace ddpm::cuda
