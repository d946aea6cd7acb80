#pragma once

#include <cooperative_groups.h>

#include "ddpm/kernels/cuda/early_launch.cuh"
#include "ddpm/kernels/cuda/group_norm_silu_kernels.h"
#include "ddpm/kernels/cuda/vector_types.cuh"

// A cluster of blocks takes an image; each block a slab of its pixels, with all channels. A slab is
// contiguous in memory, so that the copy engine brings it into shared memory, where it stays
// between the passes: a map is read once. Blocks exchange sums through each other's shared memory.
// Thread t holds 8 channels of pixels t / lanes, + rows, + 2 rows, ..:
//
//     lanes = channels / 8 threads side by side read one pixel, rows = threads / lanes pixels at a
//     time
//
// Slabs that are too large for that stay where they are, and each pass reads them again (from L2,
// mostly).
namespace ddpm::cuda {

inline constexpr int kClusterThreads = 256;
inline constexpr int kMaxLanes = kClusterThreads;
inline constexpr int kChunks = 4;  // a slab comes in as many parts

/// How an image is split, and what a block keeps in shared memory.
struct ClusterPlan {
  int size = 1;    // blocks of a cluster
  int pixels = 0;  // of a slab
  int chunk = 0;   // pixels of a chunk
  int lanes = 0;
  int rows = 0;
  int partial_rows = 0;  // that are summed through shared memory, after each warp's own
  int map_bytes = 0;     // of one map's slab
  bool resident = false;
  bool good = false;  // three blocks share a multiprocessor
};

/// What is computed after the norm; a template argument.
enum class NormTail { kNone, kSilu, kSiluDropout };

/// The arrays behind the slabs in shared memory.
template <int kChannelArrays>
struct ClusterScratch {
  float* partial;   // [partial_rows, channels] of sum_slab
  float* channel;   // [kChannelArrays, channels]
  float* exchange;  // [size, row_of_groups()], written by all blocks of the cluster
  float* group;     // [2, groups], in as much room as a row of those

  /// Of a block's [2, groups], in whole quads.
  static __host__ __device__ int row_of_groups(const GroupNormShape& shape) {
    return (2 * shape.groups + 3) / 4 * 4;
  }
  /// How many channels of an array fall to a block, in whole quads.
  static __host__ __device__ int share(const GroupNormShape& shape, const ClusterPlan& plan) {
    return (shape.channels + 4 * plan.size - 1) / (4 * plan.size) * 4;
  }
  /// What three arrays that lie share by share take more.
  static __host__ __device__ int padding(const GroupNormShape& shape, const ClusterPlan& plan) {
    return 3 * (plan.size * share(shape, plan) - shape.channels);
  }
  static __host__ __device__ int bytes(const GroupNormShape& shape, const ClusterPlan& plan) {
    return static_cast<int>(sizeof(float)) *
           ((plan.partial_rows + kChannelArrays) * shape.channels + padding(shape, plan) +
            (plan.size + 1) * row_of_groups(shape));
  }
  __device__ ClusterScratch(const GroupNormShape& shape, const ClusterPlan& plan, void* memory)
      : partial(static_cast<float*>(memory)),
        channel(partial + plan.partial_rows * shape.channels),
        exchange(channel + kChannelArrays * shape.channels + padding(shape, plan)),
        group(exchange + plan.size * row_of_groups(shape)) {}
};

/// What a thread of a block is.
struct ClusterPlace {
  int image, rank, lane, row;
  int first;  // pixel of the slab in the image
  int count;  // of the slab's pixels; may be 0
  bool works;
  bool in_rest;  // its channels stand in x_rest

  __device__ ClusterPlace(const GroupNormShape& shape, const ClusterPlan& plan)
      : image(static_cast<int>(blockIdx.x) / plan.size),
        rank(static_cast<int>(blockIdx.x) % plan.size),
        lane(static_cast<int>(threadIdx.x) % plan.lanes),
        row(static_cast<int>(threadIdx.x) / plan.lanes),
        first(rank * plan.pixels),
        count(max(0, min(plan.pixels, shape.pixels - first))),
        works(row < plan.rows),
        in_rest(lane * kVector >= shape.channels - shape.rest_channels) {}
  __device__ int channel() const { return lane * kVector; }
};

/// A thread's 8 channels of a slab: pixel p of the slab at base + p * step.
template <typename T>
struct SlabLane {
  T* base;
  int step;
};

/// Of a map that is split as x and x_rest are, or of one without rest.
template <typename T>
__device__ SlabLane<T> slab_lane(const GroupNormShape& shape, const ClusterPlace& place, T* map,
                                 T* rest) {
  const int step = place.in_rest ? shape.rest_channels : shape.channels - shape.rest_channels;
  const int channel = place.channel() - (place.in_rest ? shape.channels - shape.rest_channels : 0);
  T* const from = place.in_rest ? rest : map;
  if (from == nullptr) return {nullptr, step};
  const int64_t pixel = static_cast<int64_t>(place.image) * shape.pixels + place.first;
  return {from + pixel * step + channel, step};
}
template <typename T>
__device__ SlabLane<T> slab_lane(const GroupNormShape& shape, const ClusterPlace& place, T* map) {
  const int64_t pixel = static_cast<int64_t>(place.image) * shape.pixels + place.first;
  return {map + pixel * shape.channels + place.channel(), shape.channels};
}

#if !defined(__CUDA_ARCH__) || __CUDA_ARCH__ >= 900

namespace cg = cooperative_groups;

inline __device__ uint32_t shared_address(const void* pointer) {
  return static_cast<uint32_t>(__cvta_generic_to_shared(pointer));
}

/// Tells when a chunk has come; used once.
class ChunkBarrier {
 public:
  __device__ void init() {
    asm volatile("mbarrier.init.shared::cta.b64 [%0], 1;" ::"r"(shared_address(&word_)));
  }
  __device__ void expect(uint32_t bytes) {
    asm volatile(
        "mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(shared_address(&word_)),
        "r"(bytes)
        : "memory");
  }
  __device__ void copy(void* to, const void* from, uint32_t bytes) {
    if (bytes == 0) return;
    asm volatile(
        "cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1], %2, [%3];" ::
            "r"(shared_address(to)),
        "l"(from), "r"(bytes), "r"(shared_address(&word_))
        : "memory");
  }
  __device__ void wait() {
    asm volatile(
        "{\n.reg .pred done;\nagain:\n"
        "mbarrier.try_wait.parity.shared::cta.b64 done, [%0], 0;\n"
        "@done bra end;\nbra again;\nend:\n}" ::"r"(shared_address(&word_))
        : "memory");
  }

 private:
  uint64_t word_;
};

inline __device__ void init_barriers(ChunkBarrier* barriers) {
  if (threadIdx.x == 0) {
    for (int i = 0; i < kChunks; ++i) barriers[i].init();
    asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
    asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
  }
  __syncthreads();
}

/// One thread starts the copy of chunk i of a map's slab: pixels [begin, end).
template <typename T>
__device__ void copy_chunk(ChunkBarrier& barrier, T* slab, const T* map, int64_t slab_begin,
                           int channels, int begin, int end) {
  barrier.copy(slab + begin * channels, map + slab_begin * channels + begin * channels,
               static_cast<uint32_t>((end - begin) * channels) * sizeof(T));
}

/// Sums over the slab's pixels of kSums values a channel, into sums[k * channels + channel]. The
/// order of additions depends on the shape alone.
template <int kSums>
__device__ void sum_slab(const GroupNormShape& shape, const ClusterPlan& plan,
                         const ClusterPlace& place, float (&values)[kSums][kVector], float* partial,
                         float* sums) {
  const int channels = shape.channels;
  bool writes = place.works;
  int row = place.row;
  if (plan.partial_rows < plan.rows) {  // a warp holds several rows
    for (int offset = 16; offset >= plan.lanes; offset /= 2) {
#pragma unroll
      for (int i = 0; i < kSums * kVector; ++i) {
        float& value = values[i / kVector][i % kVector];
        value += __shfl_xor_sync(0xffffffff, value, offset);
      }
    }
    row = static_cast<int>(threadIdx.x) / 32;
    writes = static_cast<int>(threadIdx.x) % 32 < plan.lanes;
  }
#pragma unroll
  for (int k = 0; k < kSums; ++k) {
    __syncthreads();  // partial may still be read
    if (writes) store_vector(partial + row * channels + place.channel(), values[k]);
    __syncthreads();
    for (int c = static_cast<int>(threadIdx.x); c < channels; c += kClusterThreads) {
      float total = 0;
#pragma unroll 8
      for (int r = 0; r < plan.partial_rows; ++r) total += partial[r * channels + c];
      sums[k * channels + c] = total;
    }
  }
  __syncthreads();
}

/// Writes value into every block's exchange[rank][k][group].
__device__ __forceinline__ void push_to_all(const GroupNormShape& shape, const ClusterPlan& plan,
                                            const ClusterPlace& place, float* exchange, int k,
                                            int group, float value) {
  const cg::cluster_group cluster = cg::this_cluster();
  float* const own = exchange + (place.rank * 2 + k) * shape.groups + group;
  for (int r = 0; r < plan.size; ++r) *cluster.map_shared_rank(own, r) = value;
}

/// A thread's 8 values of an array in shared memory.
__device__ __forceinline__ void load_channels(const float* array, int channel,
                                              float (&out)[kVector]) {
  const float4 low = *reinterpret_cast<const float4*>(array + channel);
  const float4 high = *reinterpret_cast<const float4*>(array + channel + 4);
  out[0] = low.x;
  out[1] = low.y;
  out[2] = low.z;
  out[3] = low.w;
  out[4] = high.x;
  out[5] = high.y;
  out[6] = high.z;
  out[7] = high.w;
}

/// Entry c of a channel's weights, which may be null.
template <typename T>
__device__ __forceinline__ float entry_or(const void* array, int64_t c, float otherwise) {
  return array == nullptr ? otherwise : static_cast<float>(static_cast<const T*>(array)[c]);
}

/// visit(channel) for all channels, each by one thread.
template <typename Visit>
__device__ __forceinline__ void each_channel(const GroupNormShape& shape, Visit&& visit) {
  for (int c = static_cast<int>(threadIdx.x); c < shape.channels; c += kClusterThreads) visit(c);
}

/// visit(pixel of the slab) for the thread's pixels, in order; waits for chunks if it is told to.
template <typename Visit>
__device__ __forceinline__ void each_pixel(const ClusterPlan& plan, const ClusterPlace& place,
                                           ChunkBarrier* wait_for, Visit&& visit) {
  if (wait_for == nullptr) {
    if (!place.works) return;
    for (int pixel = place.row; pixel < place.count; pixel += plan.rows) visit(pixel);
    return;
  }
  for (int chunk = 0; chunk < kChunks; ++chunk) {
    const int begin = chunk * plan.chunk;
    const int end = min(place.count, begin + plan.chunk);
    if (begin >= end) break;
    wait_for[chunk].wait();
    if (!place.works) continue;
    for (int pixel = begin + place.row; pixel < end; pixel += plan.rows) visit(pixel);
  }
}

#endif

/// How to split a shape's images; `maps` slabs are resident, besides scratch_bytes(plan). Clusters
/// of up to most_good_size blocks are taken for three blocks a multiprocessor.
ClusterPlan make_cluster_plan(const GroupNormShape& shape, int maps,
                              int (*scratch_bytes)(const GroupNormShape&, const ClusterPlan&),
                              int most_good_size = 8);

/// Launches a kernel in clusters of plan.size blocks, with so much shared memory; early.
template <typename... Arguments>
cudaError_t launch_clusters(void (*kernel)(Arguments...), const GroupNormShape& shape,
                            const ClusterPlan& plan, int shared_bytes, cudaStream_t stream,
                            const Arguments&... arguments) {
  const cudaError_t sized =
      cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, shared_bytes);
  if (sized != cudaSuccess) return sized;
  if (plan.size > 8) {
    const cudaError_t allowed =
        cudaFuncSetAttribute(kernel, cudaFuncAttributeNonPortableClusterSizeAllowed, 1);
    if (allowed != cudaSuccess) return allowed;
  }
  return launch_early({.blocks = dim3(static_cast<unsigned>(shape.images * plan.size)),
                       .threads = dim3(kClusterThreads),
                       .shared_bytes = shared_bytes,
                       .stream = stream,
                       .cluster_blocks = static_cast<unsigned>(plan.size)},
                      kernel, arguments...);
}

/// Calls launch.operator()<resident, tail>().
template <typename Launch>
cudaError_t with_tail(const GroupNormShape& shape, bool resident, Launch&& launch) {
  const auto with_resident = [&]<bool kResident>() {
    if (shape.silu && shape.dropout > 0) {
      return launch.template operator()<kResident, NormTail::kSiluDropout>();
    }
    if (shape.silu) return launch.template operator()<kResident, NormTail::kSilu>();
    return launch.template operator()<kResident, NormTail::kNone>();
  };
  return resident ? with_resident.template operator()<true>()
                  : with_resident.template operator()<false>();
}

}  // namespace ddpm::cuda
