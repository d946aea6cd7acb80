#include "ddpm/kernels/cuda/group_norm_silu_gradients.h"

#include <ATen/ATen.h>
#include <c10/cuda/CUDAException.h>
#include <c10/cuda/CUDAStream.h>

#include "ddpm/kernels/cuda/map_sums.h"
#include "ddpm/kernels/optional_tensor.h"

namespace ddpm::cuda {
namespace {

/// Sums of the gradient of one of the norm's maps.
struct GradientSums {
  Tensor added, written;  ///< Undefined if there are none.

  /// Those of d_skip have to be known.
  GradientSums(const Tensor& d_map, const Tensor& d_skip, bool wanted) {
    if (!wanted || !d_map.defined()) return;
    if (d_skip.defined()) added = kept_pixel_sums(d_skip);
    if (d_skip.defined() && !added.defined()) return;
    written = at::empty({2, d_map.size(1)}, d_map.options().memory_format(std::nullopt));
  }
  void keep_with(const Tensor& d_map) const {
    if (written.defined()) keep_pixel_sums(d_map, written);
  }
};

}  // namespace

void run_norm_backward(const GroupNormShape& shape, const GroupNormTensors& tensors,
                       GroupNormGradients gradients, const NormMapGradients& maps) {
  const bool clusters = group_norm_silu_clusters(shape);
  const bool sums_maps = clusters && tensors.time_embedding == nullptr;
  const GradientSums sums(maps.d_x, maps.d_skip, sums_maps);
  const GradientSums rest_sums(maps.d_x_rest, maps.d_skip_rest, sums_maps);
  const auto numbers = maps.d_x.options().memory_format(std::nullopt).dtype(at::kFloat);
  const Tensor room = at::empty({3, shape.images, shape.channels}, numbers);
  gradients.d_x = room_of(maps.d_x);
  gradients.d_x_rest = room_of(maps.d_x_rest);
  gradients.d_skip = clusters ? data_of(maps.d_skip) : nullptr;
  gradients.d_skip_rest = data_of(maps.d_skip_rest);
  gradients.map_sums = {.d_skip = data_of(sums.added),
                        .d_skip_rest = data_of(rest_sums.added),
                        .d_x = room_of(sums.written),
                        .d_x_rest = room_of(rest_sums.written)};
  gradients.sums = room.mutable_data_ptr<float>();
  const auto launch = clusters ? group_norm_silu_cluster_backward : group_norm_silu_backward;
  C10_CUDA_CHECK(launch(shape, tensors, gradients, c10::cuda::getCurrentCUDAStream()));
  if (!clusters && maps.d_skip.defined()) maps.d_x.add_(maps.d_skip);
  sums.keep_with(maps.d_x);
  rest_sums.keep_with(maps.d_x_rest);
}

}  // namespace ddpm::cuda
