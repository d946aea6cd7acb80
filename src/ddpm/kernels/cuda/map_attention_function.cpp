#include "ddpm/kernels/cuda/map_attention_function.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <c10/cuda/CUDAException.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>

#include "ddpm/kernels/cuda/conv2d_tiles.h"
#include "ddpm/kernels/cuda/conv2d_warpgroup_kernels.h"
#include "ddpm/kernels/cuda/group_norm_sums_kernels.h"
#include "ddpm/kernels/group_norm_silu.h"
#include "ddpm/kernels/map_rows.h"
#include "ddpm/kernels/optional_tensor.h"

namespace ddpm::cuda {
namespace {

constexpr int64_t kFewestMaps = 12;  // for attend_map(), which leaves processors idle below

bool is_norm_alone(const GroupNormSiluArgs& norm) {
  return !norm.silu && !norm.time_embedding.defined() && !norm.scale.defined() &&
         has_norm_rows(norm, kMapChannels);
}

/// Whether the batch goes to attend_few_maps(), which has no backward pass.
bool takes_few(const Tensor& x) { return x.size(0) < kFewestMaps && !at::GradMode::is_enabled(); }

/// Packed now, unless they are.
Tensor tiles_for(const Tensor& weight, const Tensor& packed) {
  return packed.defined() ? packed : warpgroup_tiles(pixel_weight(weight));
}

Tensor run_few_maps_attention(const MapAttentionArgs& args) {
  const c10::cuda::CUDAGuard guard(args.x.device());
  const FoldedAttention& weights = *args.weights;
  const GroupNormSiluArgs& norm = *args.norm;
  const Tensor x = channels_last(args.x), x_sums = small_part_sums(x);
  const Tensor score_weight = weights.score_weight.contiguous();
  const Tensor out_weight = weights.out_weight.contiguous();
  const int pixels = static_cast<int>(x.size(2) * x.size(3));
  const Tensor y = at::empty_like(x), sums = empty_part_sums(y, pixels / kFewMapsSumPixels);
  C10_CUDA_CHECK(attend_few_maps({.images = static_cast<int>(x.size(0)),
                                  .pixels = pixels,
                                  .x = x.const_data_ptr(),
                                  .norm = {.sums = x_sums.const_data_ptr<float>(),
                                           .parts = static_cast<int>(x_sums.size(1)),
                                           .groups = static_cast<int>(norm.num_groups),
                                           .eps = static_cast<float>(norm.eps),
                                           .silu = false,
                                           .weight = norm.weight.const_data_ptr(),
                                           .bias = norm.bias.const_data_ptr()},
                                  .score_weight = score_weight.const_data_ptr(),
                                  .score_bias = weights.score_bias.const_data_ptr(),
                                  .out_weight = out_weight.const_data_ptr(),
                                  .out_bias = weights.out_bias.const_data_ptr(),
                                  .out = y.mutable_data_ptr(),
                                  .sums = sums.mutable_data_ptr<float>()},
                                 c10::cuda::getCurrentCUDAStream()));
  keep_part_sums(y, sums);
  return y;
}

}  // namespace

bool takes_map_attention(const Tensor& x, const GroupNormSiluArgs& norm) {
  if (!x.is_cuda() || x.scalar_type() != at::kBFloat16 || x.dim() != 4 || x.size(0) == 0 ||
      x.size(1) != kMapChannels || !is_norm_alone(norm)) {
    return false;
  }
  const int64_t pixels = x.size(2) * x.size(3);
  const bool is_taken =
      takes_few(x) ? attends_few_maps(static_cast<int>(pixels), static_cast<int>(norm.num_groups))
                   : x.size(0) >= kFewestMaps && pixels == kMapPixels;
  const c10::cuda::CUDAGuard guard(x.device());
  return is_taken && device_has_warpgroup_conv();
}

Tensor run_map_attention(const MapAttentionArgs& args, const MapAttentionSaved& saved,
                         NormStatistics* statistics) {
  if (takes_few(args.x)) return run_few_maps_attention(args);
  const c10::cuda::CUDAGuard guard(args.x.device());
  const FoldedAttention& weights = *args.weights;
  const Tensor x = channels_last(args.x);
  NormInputs inputs(*args.norm, x, /*x_rest=*/{});
  if (statistics != nullptr) inputs.ask_for(*statistics);
  const Tensor norm = norm_rows(inputs);
  const Tensor score_tiles = tiles_for(weights.score_weight, weights.score_tiles);
  const Tensor out_tiles = tiles_for(weights.out_weight, weights.out_tiles);
  const Tensor y = at::empty_like(x);
  const Tensor sums = empty_part_sums(y, kMapPixels / kSumPixels);
  C10_CUDA_CHECK(attend_map({.images = static_cast<int>(x.size(0)),
                             .x = x.const_data_ptr(),
                             .norm = norm.const_data_ptr<float>(),
                             .score_weight = score_tiles.const_data_ptr(),
                             .score_bias = weights.score_bias.const_data_ptr(),
                             .out_weight = out_tiles.const_data_ptr(),
                             .out_bias = weights.out_bias.const_data_ptr(),
                             .out = y.mutable_data_ptr(),
                             .sums = sums.mutable_data_ptr<float>(),
                             .saved = saved},
                            c10::cuda::getCurrentCUDAStream()));
  keep_part_sums(y, sums);
  return y;
}

}  // namespace ddpm::cuda
