#include "ddpm/kernels/cuda/conv2d_tiles.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <c10/cuda/CUDAException.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>

#include <cstdint>

#include "ddpm/kernels/cuda/conv2d_tiles_cache.h"
#include "ddpm/kernels/cuda/conv2d_tiles_kernels.h"
#include "ddpm/kernels/cuda/conv2d_warpgroup_kernels.h"
#include "ddpm/kernels/cuda/empty_tiles.h"

namespace ddpm::cuda {
namespace {

constexpr int64_t kPackedRows = 128, kPackedColumns = 32, kMostSide = 3;

/// Channels last, at a place where 16 bytes can be read at once.
Tensor aligned_weight(const Tensor& weight) {
  const Tensor dense = weight.contiguous(at::MemoryFormat::ChannelsLast);
  const auto place = reinterpret_cast<uintptr_t>(dense.const_data_ptr());
  return place % 16 == 0 ? dense : dense.clone();
}

Tensor pack_tiles(const Tensor& weight, bool turned) {
  const c10::cuda::CUDAGuard guard(weight.device());
  const at::NoGradGuard no_grad;
  if (const Tensor cached = cached_tiles(weight, turned); cached.defined()) return cached;
  const Tensor dense = aligned_weight(weight);
  const TilesShape shape = tiles_shape(weight, turned);
  const Tensor tiles = empty_tiles(shape, weight);
  C10_CUDA_CHECK(pack_conv2d_tiles(shape, dense.const_data_ptr(), tiles.mutable_data_ptr(),
                                   c10::cuda::getCurrentCUDAStream()));
  return tiles;
}

}  // namespace

bool has_warpgroup_tiles(const Tensor& weight) {
  const int64_t side = weight.size(2);
  if (!weight.is_cuda() || weight.scalar_type() != at::kBFloat16 || side > kMostSide ||
      weight.size(3) != side || weight.size(0) % kPackedRows != 0 ||
      weight.size(1) % kPackedColumns != 0) {
    return false;
  }
  const c10::cuda::CUDAGuard guard(weight.device());
  return device_has_warpgroup_conv();
}

Tensor warpgroup_tiles(const Tensor& weight) {
  return has_warpgroup_tiles(weight) ? pack_tiles(weight, /*turned=*/false) : Tensor();
}

Tensor turned_warpgroup_tiles(const Tensor& weight) { return pack_tiles(weight, /*turned=*/true); }

}  // namespace ddpm::cuda
