#include "ddpm/kernels/cuda/map_attention_block.cuh"
#include "ddpm/kernels/cuda/vector_types.cuh"

namespace ddpm::cuda {
namespace {

using namespace map_attention;

/// Brings a map into shared memory and normalises it there: each thread eight channels.
struct Normaliser {
  static constexpr int kLoadGroups = 4, kGroupLoads = Multiplier::kLoads / kLoadGroups;

  Shared& shared;
  int plane, first;  // of the thread: its channels and first pixel
  float2 norm[kPart];
  bf16* saved;     // where normalised pixels are kept; null: nowhere
  int begin, end;  // of those that are kept

  __device__ Normaliser(const MapAttention& a, Shared& memory, int image, int own, int own_count)
      : shared(memory),
        plane(static_cast<int>(threadIdx.x) % kPlanes),
        first(static_cast<int>(threadIdx.x) / kPlanes),
        saved(static_cast<bf16*>(a.saved.normed)),
        begin(own),
        end(own + own_count) {
    const auto* from = static_cast<const bf16*>(a.x) + map_at(image) + plane * kPart;
#pragma unroll
    for (int i = 0; i < Multiplier::kLoads; ++i) {
      const int pixel = first + i * Multiplier::kPixelsAtOnce;
      copy_async_or_zero(&shared.pixels[plane][pixel], from + pixel * kMapChannels, true);
      if (i % kGroupLoads == kGroupLoads - 1) commit_copies();
    }
    const auto* norms = reinterpret_cast<const float4*>(
        a.norm + (static_cast<int64_t>(image) * kMapChannels + plane * kPart) * 2);
#pragma unroll
    for (int i = 0; i < kPart / 2; ++i) {
      const float4 two = norms[i];
      norm[2 * i] = {two.x, two.y};
      norm[2 * i + 1] = {two.z, two.w};
    }
    if (saved != nullptr) saved += map_at(image) + plane * kPart;
    run<kLoadGroups - 1>();
  }

  template <int kPending>
  __device__ void run() {
    wait_for_copies<kPending>();
    constexpr int kBegin = (kLoadGroups - 1 - kPending) * kGroupLoads;
#pragma unroll
    for (int i = kBegin; i < kBegin + kGroupLoads; ++i) {
      const int pixel = first + i * Multiplier::kPixelsAtOnce;
      auto* at = reinterpret_cast<bf16*>(&shared.pixels[plane][pixel]);
      float values[kPart];
      unpack(load_packed(at), values);
#pragma unroll
      for (int c = 0; c < kPart; ++c) values[c] = fmaf(values[c], norm[c].x, norm[c].y);
      store_vector(at, values);
      if (saved != nullptr && pixel >= begin && pixel < end) {
        store_vector(saved + pixel * kMapChannels, values);
      }
    }
    if constexpr (kPending > 0) run<kPending - 1>();
  }
};

/// Of the warp's rows in a block of columns: residual, bias and sums, one after the other.
struct ResultWriter {
  const Multiplier& multiplier;
  const float* bias;
  WarpRows& memory;
  RowVectors vectors;
  uint4 residual[RowVectors::kCount];

  __device__ ResultWriter(const Multiplier& of, const float* out_bias)
      : multiplier(of), bias(out_bias), memory(of.staging()), vectors(of.lane()) {}

  /// The residual is on its way while the columns before are worked on.
  __device__ void ask_for(const bf16* x, int block) {
#pragma unroll
    for (int i = 0; i < RowVectors::kCount; ++i) {
      residual[i] = *reinterpret_cast<const uint4*>(x + vectors.in_map(block, i));
    }
  }
  __device__ void put_residual() {
#pragma unroll
    for (int i = 0; i < RowVectors::kCount; ++i) vectors.in(memory, i) = residual[i];
  }
  __device__ void add(const Sums& sums, int block) {
    const int lane = Multiplier::lane();
#pragma unroll
    for (int j = 0; j < kColumns / 8; ++j) {
      const int column = 8 * j + 2 * (lane % 4);
      const float2 of_bias = *reinterpret_cast<const float2*>(bias + block * kColumns + column);
#pragma unroll
      for (int h = 0; h < 2; ++h) {
        auto* at = reinterpret_cast<__nv_bfloat162*>(memory[lane / 4 + 8 * h] + column * 2);
        const float2 x = __bfloat1622float2(*at);
        const float* sum =
            &sums[block * kColumns / kHalf][4 * (block * kColumns % kHalf / 8 + j) + 2 * h];
        *at = __floats2bfloat162_rn(sum[0] + of_bias.x + x.x, sum[1] + of_bias.y + x.y);
      }
    }
  }
  __device__ void send(bf16* out, int block) {
#pragma unroll
    for (int i = 0; i < RowVectors::kCount; ++i) {
      *reinterpret_cast<uint4*>(out + vectors.in_map(block, i)) = vectors.in(memory, i);
    }
  }
  /// Of two columns.
  __device__ float4 sum() const {
    float4 sum{0, 0, 0, 0};
#pragma unroll
    for (int row = 0; row < kWarpRows; ++row) {
      const float2 value = __bfloat1622float2(
          reinterpret_cast<const __nv_bfloat162*>(memory[row])[Multiplier::lane()]);
      sum = {sum.x + value.x, fmaf(value.x, value.x, sum.y), sum.z + value.y,
             fmaf(value.y, value.y, sum.w)};
    }
    return sum;
  }
};

/// Of a group's rows, which are a part of the image.
__device__ __forceinline__ void leave_sums(const MapAttention& a, Shared& shared,
                                           const float4 (&columns)[kBlocks], int image, int tile) {
  const int group = Multiplier::group(), thread = Multiplier::thread();
  __syncwarp();
#pragma unroll
  for (int block = 0; block < kBlocks; ++block) {
    shared.result[group][Multiplier::warp()].sums[block][Multiplier::lane()] = columns[block];
  }
  meet(2 + group, kGroupThreads);
  float4 sum{0, 0, 0, 0};
#pragma unroll
  for (int warp = 0; warp < kWarps; ++warp) {
    const float4 more = shared.result[group][warp].sums[Multiplier::warp()][Multiplier::lane()];
    sum = {sum.x + more.x, sum.y + more.y, sum.z + more.z, sum.w + more.w};
  }
  const int64_t part =
      static_cast<int64_t>(image) * (kMapPixels / kGroupRows) + tile * kGroups + group;
  reinterpret_cast<float4*>(a.sums + part * kMapChannels * 2)[thread] = sum;
  meet(2 + group, kGroupThreads);
}

/// Adds bias and residual to a tile's rows, writes them and leaves their sums.
__device__ __forceinline__ void write_result(const MapAttention& a, Multiplier& multiplier,
                                             int image, int tile) {
  const int64_t place = map_at(image) + Multiplier::warp_row(tile) * kMapChannels;
  const auto* x = static_cast<const bf16*>(a.x) + place;
  ResultWriter writer(multiplier, multiplier.shared.out_bias);
  float4 columns[kBlocks];
  writer.ask_for(x, 0);
#pragma unroll
  for (int block = 0; block < kBlocks; ++block) {
    __syncwarp();
    writer.put_residual();
    if (block + 1 < kBlocks) writer.ask_for(x, block + 1);
    __syncwarp();
    writer.add(multiplier.sums, block);
    __syncwarp();
    writer.send(static_cast<bf16*>(a.out) + place, block);
    columns[block] = writer.sum();
  }
  if (a.sums != nullptr) leave_sums(a, multiplier.shared, columns, image, tile);
}

__device__ __forceinline__ void attend(const MapAttention& a, Multiplier& m, int image, int tile) {
  const MapAttentionSaved& saved = a.saved;
  const int64_t at = map_at(image);
  m.multiply_pixels_with_weight(tile);
  round_rows(m.rows, m.sums,
             [&](int column, int, float sum) { return sum + m.shared.score_bias[column]; });
  if (saved.queries != nullptr) m.store(saved.queries, 2 * at, tile);
  multiply_with_pixels(m.sums, m.rows, m.shared);
  softmax_of(m.rows, m.sums);
  if (saved.probabilities != nullptr) m.store(saved.probabilities, 2 * at, tile);
  sum_pixels(m.sums, m.rows, m.shared);
  m.round_sums();
  if (saved.attended != nullptr) m.store(saved.attended, at, tile);
  m.multiply_rows_with_weight();
  write_result(a, m, image, tile);
}

/// A block for one tile of an image's pixels, or for all of them.
__global__ void __launch_bounds__(kThreads, 1)
    attend_map_kernel(const __grid_constant__ MapAttention a, int blocks_of_image) {
#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
  extern __shared__ __align__(128) unsigned char memory[];
  auto& shared = *reinterpret_cast<Shared*>(memory);
  let_next_kernel_begin();
  prepare_barriers(shared);
  for (int i = static_cast<int>(threadIdx.x); i < kMapChannels; i += kThreads) {
    shared.score_bias[i] = __bfloat162float(static_cast<const bf16*>(a.score_bias)[i]);
    shared.out_bias[i] = __bfloat162float(static_cast<const bf16*>(a.out_bias)[i]);
  }
  __syncthreads();
  run_block(
      shared, a.score_weight, a.out_weight, blocks_of_image,
      [&](int image, int own, int count) { Normaliser(a, shared, image, own, count); },
      [&](Multiplier& multiplier, int image, int tile) { attend(a, multiplier, image, tile); });
#endif
}

}  // namespace

cudaError_t attend_map(const MapAttention& attention, cudaStream_t stream) {
  return launch_for_images(attend_map_kernel, attention, stream);
}

}  // namespace ddpm::cuda
