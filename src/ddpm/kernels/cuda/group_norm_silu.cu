#include <cuda_bf16.h>

#include "ddpm/kernels/cuda/group_norm_silu_kernels.h"

// One block takes one image and a bundle of channels (whole groups, about 32 channels), all pixels.
// Thread t holds 8 channels (16 bytes of bfloat16) of pixels t / lanes, + rows, + 2 rows, ..:
//
//     lanes = bundle / 8 threads side by side read one pixel, rows = threads / lanes pixels at a
//     time
//
// Where a thread has at most kHeld pixels, the map stays in its registers between the passes;
// otherwise kHeld is 0 and each pass reads it again (from L2, mostly).
namespace ddpm::cuda {
namespace {

constexpr int kVector = 8;
constexpr int kMaxThreads = 512;
constexpr int kMaxBundle = 128;
constexpr int kMostHeld = 8;

struct Bundle {
  int channels = 0;  // of the block
  int lanes = 0;     // threads a pixel
  int rows = 0;      // pixels at a time
  int threads = 0;
  int held = 0;  // pixels a thread keeps, 0: none
};

/// Eight values as they are stored.
template <typename T>
struct Packed {
  uint4 words[sizeof(T) * kVector / 16];
};

template <typename T>
__device__ Packed<T> load_packed(const T* from) {
  Packed<T> packed;
#pragma unroll
  for (int i = 0; i < static_cast<int>(sizeof(T)) * kVector / 16; ++i) {
    packed.words[i] = reinterpret_cast<const uint4*>(from)[i];
  }
  return packed;
}

__device__ void unpack(const Packed<__nv_bfloat16>& packed, float (&out)[kVector]) {
  const auto* pairs = reinterpret_cast<const __nv_bfloat162*>(&packed);
#pragma unroll
  for (int i = 0; i < kVector / 2; ++i) {
    const float2 pair = __bfloat1622float2(pairs[i]);
    out[2 * i] = pair.x;
    out[2 * i + 1] = pair.y;
  }
}
__device__ void unpack(const Packed<float>& packed, float (&out)[kVector]) {
  const auto* values = reinterpret_cast<const float*>(&packed);
#pragma unroll
  for (int i = 0; i < kVector; ++i) out[i] = values[i];
}

__device__ void store_vector(__nv_bfloat16* to, const float (&values)[kVector]) {
  uint4 words;
  auto* pairs = reinterpret_cast<__nv_bfloat162*>(&words);
#pragma unroll
  for (int i = 0; i < kVector / 2; ++i) {
    pairs[i] = __floats2bfloat162_rn(values[2 * i], values[2 * i + 1]);
  }
  *reinterpret_cast<uint4*>(to) = words;
}
__device__ void store_vector(float* to, const float (&values)[kVector]) {
  reinterpret_cast<float4*>(to)[0] = make_float4(values[0], values[1], values[2], values[3]);
  reinterpret_cast<float4*>(to)[1] = make_float4(values[4], values[5], values[6], values[7]);
}

template <typename T>
__device__ void load_or(const void* from, float otherwise, float (&out)[kVector]) {
  if (from == nullptr) {
#pragma unroll
    for (int i = 0; i < kVector; ++i) out[i] = otherwise;
    return;
  }
  unpack(load_packed(static_cast<const T*>(from)), out);
}

template <typename T>
__device__ const void* row_of(const void* table, int64_t stride, int image, int channel) {
  if (table == nullptr) return nullptr;
  return static_cast<const T*>(table) + image * stride + channel;
}

__device__ float sigmoid(float z) { return 1.0f / (1.0f + __expf(-z)); }

/// The pixels of a thread, from registers or from memory.
template <typename T, int kHeld>
struct Pixels {
  const T* base;  // the thread's first pixel
  int64_t step;   // elements from one of its pixels to the next
  int count;
  Packed<T> held[kHeld > 0 ? kHeld : 1];

  __device__ void load() {
#pragma unroll
    for (int i = 0; i < kHeld; ++i) {
      if (i < count) held[i] = load_packed(base + i * step);
    }
  }
  /// visit(pixel's number, its 8 values as they are stored)
  template <typename Visit>
  __device__ void each(Visit&& visit) const {
    if constexpr (kHeld > 0) {
#pragma unroll
      for (int i = 0; i < kHeld; ++i) {
        if (i < count) visit(i, held[i]);
      }
    } else {
      for (int i = 0; i < count; ++i) visit(i, load_packed(base + i * step));
    }
  }
};

/// What a thread of a block is.
struct Place {
  int image, first_channel, lane, row;
  bool works;
  int64_t offset;  // of its first pixel's first channel
  int count;       // of its pixels

  __device__ Place(const GroupNormShape& shape, const Bundle& bundle)
      : image(static_cast<int>(blockIdx.y)),
        first_channel(static_cast<int>(blockIdx.x) * bundle.channels),
        lane(static_cast<int>(threadIdx.x) % bundle.lanes),
        row(static_cast<int>(threadIdx.x) / bundle.lanes),
        works(row < bundle.rows && row < shape.pixels),
        offset((static_cast<int64_t>(image) * shape.pixels + row) * shape.channels + channel()),
        count(works ? (shape.pixels - row + bundle.rows - 1) / bundle.rows : 0) {}
  __device__ int channel() const { return first_channel + lane * kVector; }
};

/// Sums over all pixels of kSums values a channel; sums[k][channel of the bundle] is complete after
/// the call. The order of additions depends on the shape alone.
template <int kSums>
__device__ void sum_pixels(const Bundle& bundle, const Place& place,
                           const float (&values)[kSums][kVector], float (*sums)[kMaxBundle],
                           float* scratch) {
  const int thread = static_cast<int>(threadIdx.x);
  const int segments = bundle.threads / bundle.channels;
  const int segment = thread / bundle.channels;
  const int column = thread % bundle.channels;
#pragma unroll
  for (int k = 0; k < kSums; ++k) {
    __syncthreads();  // scratch may still be read
    if (place.row < bundle.rows) {
      float* to = scratch + place.row * bundle.channels + place.lane * kVector;
      store_vector(to, values[k]);
    }
    __syncthreads();
    float partial = 0;
    if (segment < segments) {
      for (int row = segment; row < bundle.rows; row += segments) {
        partial += scratch[row * bundle.channels + column];
      }
    }
    __syncthreads();
    if (segment < segments) scratch[segment * bundle.channels + column] = partial;
    __syncthreads();
    if (thread < bundle.channels) {
      float total = 0;
      for (int s = 0; s < segments; ++s) total += scratch[s * bundle.channels + thread];
      sums[k][thread] = total;
    }
  }
  __syncthreads();
}

/// values[c] becomes the mean over c's group of values and pixels.
__device__ void mean_of_groups(const GroupNormShape& shape, const Bundle& bundle, float* values) {
  const int per_group = shape.channels / shape.groups;
  const int thread = static_cast<int>(threadIdx.x);
  float mean = 0;
  if (thread < bundle.channels) {
    const int first = thread / per_group * per_group;
    for (int c = 0; c < per_group; ++c) mean += values[first + c];
    mean /= static_cast<float>(per_group) * static_cast<float>(shape.pixels);
  }
  __syncthreads();
  if (thread < bundle.channels) values[thread] = mean;
  __syncthreads();
}

template <typename T, int kHeld>
__global__ void __launch_bounds__(kMaxThreads)
    forward_kernel(GroupNormShape shape, Bundle bundle, GroupNormTensors tensors, T* y) {
  extern __shared__ float scratch[];
  __shared__ float sums[1][kMaxBundle];
  const Place place(shape, bundle);
  const int channel = place.channel();
  const int64_t step = static_cast<int64_t>(bundle.rows) * shape.channels;
  Pixels<T, kHeld> pixels{static_cast<const T*>(tensors.x) + place.offset, step, place.count, {}};
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

  float factor[kVector], offset[kVector], scale[kVector], shift[kVector];
  load_or<T>(static_cast<const T*>(tensors.weight) + channel, 1, factor);
  load_or<T>(static_cast<const T*>(tensors.bias) + channel, 0, offset);
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

constexpr int kSumColumns = 32;
constexpr int kSumRows = 16;

/// d_bias and d_weight: the sums of all images.
template <typename T>
__global__ void sum_images_kernel(int images, int channels, const float* sums, T* d_bias,
                                  T* d_weight) {
  __shared__ float partial[2][kSumRows][kSumColumns];
  const int channel = static_cast<int>(blockIdx.x) * kSumColumns + static_cast<int>(threadIdx.x);
  const int row = static_cast<int>(threadIdx.y);
  float total[2] = {0, 0};
  if (channel < channels) {
    for (int image = row; image < images; image += kSumRows) {
      const int64_t at = static_cast<int64_t>(image) * channels + channel;
      total[0] += sums[at];
      total[1] += sums[static_cast<int64_t>(images) * channels + at];
    }
  }
  partial[0][row][threadIdx.x] = total[0];
  partial[1][row][threadIdx.x] = total[1];
  __syncthreads();
  if (row != 0 || channel >= channels) return;
  for (int r = 1; r < kSumRows; ++r) {
    total[0] += partial[0][r][threadIdx.x];
    total[1] += partial[1][r][threadIdx.x];
  }
  if (d_bias != nullptr) d_bias[channel] = static_cast<T>(total[0]);
  if (d_weight != nullptr) d_weight[channel] = static_cast<T>(total[1]);
}

/// The smallest bundle of 32 channels or more that holds whole groups and whole vectors; 0: none.
int bundle_channels(const GroupNormShape& shape) {
  if (shape.groups < 1 || shape.channels % shape.groups != 0) return 0;
  const int per_group = shape.channels / shape.groups;
  int largest = 0;
  for (int channels = kVector; channels <= kMaxBundle; channels += kVector) {
    if (channels % per_group != 0 || shape.channels % channels != 0) continue;
    largest = channels;
    if (channels >= 32) break;
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

int64_t scratch_bytes(const Bundle& bundle) {
  return static_cast<int64_t>(bundle.rows) * bundle.channels * static_cast<int64_t>(sizeof(float));
}

/// launch(std::integral_constant of the held pixels)
template <typename Launch>
void with_held(int held, Launch&& launch) {
  switch (held) {
    case 1:
      return launch.template operator()<1>();
    case 2:
      return launch.template operator()<2>();
    case 4:
      return launch.template operator()<4>();
    case kMostHeld:
      return launch.template operator()<kMostHeld>();
    default:
      return launch.template operator()<0>();
  }
}

template <typename T>
cudaError_t forward(const GroupNormShape& shape, const GroupNormTensors& tensors, void* y,
                    cudaStream_t stream) {
  const Bundle bundle = make_bundle(shape);
  const dim3 grid(static_cast<unsigned>(shape.channels / bundle.channels),
                  static_cast<unsigned>(shape.images));
  with_held(bundle.held, [&]<int kHeld>() {
    forward_kernel<T, kHeld><<<grid, bundle.threads, scratch_bytes(bundle), stream>>>(
        shape, bundle, tensors, static_cast<T*>(y));
  });
  return cudaGetLastError();
}

template <typename T>
cudaError_t backward(const GroupNormShape& shape, const GroupNormTensors& tensors,
                     const GroupNormGradients& gradients, cudaStream_t stream) {
  const Bundle bundle = make_bundle(shape);
  const dim3 grid(static_cast<unsigned>(shape.channels / bundle.channels),
                  static_cast<unsigned>(shape.images));
  with_held(bundle.held, [&]<int kHeld>() {
    backward_kernel<T, kHeld><<<grid, bundle.threads, scratch_bytes(bundle), stream>>>(
        shape, bundle, tensors, gradients);
  });
  const cudaError_t launched = cudaGetLastError();
  if (launched != cudaSuccess) return launched;
  if (gradients.d_weight == nullptr && gradients.d_bias == nullptr) return cudaSuccess;
  const int blocks = (shape.channels + kSumColumns - 1) / kSumColumns;
  sum_images_kernel<T><<<blocks, dim3(kSumColumns, kSumRows), 0, stream>>>(
      shape.images, shape.channels, gradients.sums, static_cast<T*>(gradients.d_bias),
      static_cast<T*>(gradients.d_weight));
  return cudaGetLastError();
}

}  // namespace

bool group_norm_silu_fits(const GroupNormShape& shape) {
  return shape.images > 0 && shape.images <= 65535 && shape.pixels > 0 &&
         bundle_channels(shape) > 0;
}

cudaError_t group_norm_silu_forward(const GroupNormShape& shape, const GroupNormTensors& tensors,
                                    void* y, cudaStream_t stream) {
  return shape.bf16 ? forward<__nv_bfloat16>(shape, tensors, y, stream)
                    : forward<float>(shape, tensors, y, stream);
}

cudaError_t group_norm_silu_backward(const GroupNormShape& shape, const GroupNormTensors& tensors,
                                     const GroupNormGradients& gradients, cudaStream_t stream) {
  return shape.bf16 ? backward<__nv_bfloat16>(shape, tensors, gradients, stream)
                    : backward<float>(shape, tensors, gradients, stream);
}

}  // namespace ddpm::cuda
