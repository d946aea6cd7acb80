#include "ddpm/kernels/cuda/group_norm_silu_gradients.h"

#include <ATen/ATen.h>
#include <c10/cuda/CUDAException.h>
#include <c10/cuda/CUDAStream.h>

#include "ddpm/kernels/cuda/map_sums.h"
#include "ddpm/kernels/cuda/side_stream.h"
#include "ddpm/kernels/optional_tensor.h"

namespace ddpm::cuda {
namespace {

/// Sums of the gradient of one of the norm's maps.
struct GradientSums {
  Tensor skip, later, written;  ///< Undefined if there are none.

  /// Those of what is added have to be known.
  GradientSums(bool wanted, const Tensor& d_map, const Tensor& d_skip, const Tensor& d_later = {}) {
    if (d_skip.defined()) skip = kept_pixel_sums(d_skip);
    if (d_later.defined()) later = kept_pixel_sums(d_later);
    const bool known = skip.defined() == d_skip.defined() && later.defined() == d_later.defined();
    if (!wanted || !d_map.defined() || !known) return;
    written = at::empty({2, d_map.size(1)}, d_map.options().memory_format(std::nullopt));
  }
  void keep_with(const Tensor& d_map) const {
    if (written.defined()) keep_pixel_sums(d_map, written);
  }
};

}  // namespace

std::vector<Tensor> fork_outputs(const Tensor& result, const Tensor& x, const Tensor& x_rest) {
  std::vector<Tensor> outputs{result, x.detach(), x.detach()};
  if (x_rest.defined()) outputs.push_back(x_rest.detach());
  return outputs;
}

NormMapGradients::NormMapGradients(const Tensor& x_gradient, const Tensor& x_rest_gradient,
                                   const std::vector<Tensor>& d_outputs)
    : d_x(x_gradient),
      d_x_rest(x_rest_gradient),
      d_skip(channels_last(d_outputs[kForkX])),
      d_later(channels_last(d_outputs[kForkXLater])) {
  if (d_x_rest.defined()) d_skip_rest = channels_last(d_outputs[kForkXRest]);
}

void run_norm_backward(const GroupNormShape& shape, const GroupNormTensors& tensors,
                       GroupNormGradients gradients, const NormMapGradients& maps) {
  const bool clusters = group_norm_silu_clusters(shape);
  const bool sums_maps = clusters && tensors.time_embedding == nullptr;
  const GradientSums sums(sums_maps, maps.d_x, maps.d_skip, maps.d_later);
  const GradientSums rest_sums(sums_maps, maps.d_x_rest, maps.d_skip_rest);
  const auto numbers = maps.d_x.options().memory_format(std::nullopt).dtype(at::kFloat);
  const Tensor room = at::empty({3, shape.images, shape.channels}, numbers);
  gradients.d_x = room_of(maps.d_x);
  gradients.d_x_rest = room_of(maps.d_x_rest);
  gradients.d_skip = clusters ? data_of(maps.d_skip) : nullptr;
  gradients.d_skip_rest = data_of(maps.d_skip_rest);
  const bool adds_later = clusters && shape.silu && shape.dropout == 0;
  gradients.d_later = adds_later ? data_of(maps.d_later) : nullptr;
  gradients.map_sums = {.d_skip = data_of(sums.skip),
                        .d_skip_rest = data_of(rest_sums.skip),
                        .d_later = data_of(sums.later),
                        .d_x = room_of(sums.written),
                        .d_x_rest = room_of(rest_sums.written)};
  gradients.sums = room.mutable_data_ptr<float>();
  const auto launch = clusters ? group_norm_silu_cluster_backward : group_norm_silu_backward;
  C10_CUDA_CHECK(launch(shape, tensors, gradients, c10::cuda::getCurrentCUDAStream()));
  run_beside({room, sums.skip, sums.later, sums.written, rest_sums.skip, rest_sums.written}, [&] {
    C10_CUDA_CHECK(group_norm_silu_sum_images(shape, gradients, c10::cuda::getCurrentCUDAStream()));
  });
  if (!clusters && maps.d_skip.defined()) maps.d_x.add_(maps.d_skip);
  if (!adds_later && maps.d_later.defined()) maps.d_x.add_(maps.d_later);
  sums.keep_with(maps.d_x);
  rest_sums.keep_with(maps.d_x_rest);
}

}  // namespace ddpm::cuda
