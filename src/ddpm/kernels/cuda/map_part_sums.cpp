#include "ddpm/kernels/cuda/map_part_sums.h"

#include <ATen/ATen.h>
#include <c10/cuda/CUDAException.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>

#include <utility>

#include "ddpm/kernels/cuda/group_norm_sums_kernels.h"
#include "ddpm/kernels/cuda/small_part_sums_kernels.h"

namespace ddpm::cuda {
namespace {

/// What LibTorch lets a backend keep with a tensor.
struct KeptSums : c10::BackendMeta {
  KeptSums(Tensor of, int64_t at) : sums(std::move(of)), version(at) {}
  Tensor sums;
  int64_t version;  // of the map, when they were its sums
};

/// Undefined if there are none.
Tensor kept_sums(const Tensor& map) {
  const auto* kept = dynamic_cast<const KeptSums*>(map.unsafeGetTensorImpl()->get_backend_meta());
  const bool count = kept != nullptr && kept->version == static_cast<int64_t>(map._version());
  return count ? kept->sums : Tensor();
}

Tensor empty_sums(const Tensor& map, int64_t parts) {
  return at::empty({map.size(0), parts, map.size(1), 2},
                   map.options().memory_format(std::nullopt).dtype(at::kFloat));
}

SumsShape sums_shape(const Tensor& map) {
  return {.images = static_cast<int>(map.size(0)),
          .pixels = static_cast<int>(map.size(2) * map.size(3)),
          .channels = static_cast<int>(map.size(1))};
}

}  // namespace

void keep_part_sums(const Tensor& map, const Tensor& sums) {
  map.unsafeGetTensorImpl()->set_backend_meta(
      c10::make_intrusive<KeptSums>(sums, static_cast<int64_t>(map._version())));
}

Tensor part_sums(const Tensor& map) {
  const SumsShape shape = sums_shape(map);
  const Tensor kept = kept_sums(map);
  if (kept.defined() && kept.size(1) == shape.pixels / kSumPixels) return kept;
  const c10::cuda::CUDAGuard guard(map.device());
  const Tensor sums = empty_sums(map, shape.pixels / kSumPixels);
  C10_CUDA_CHECK(sum_parts(shape, map.const_data_ptr(), sums.mutable_data_ptr<float>(),
                           c10::cuda::getCurrentCUDAStream()));
  keep_part_sums(map, sums);  // a skip's map is normalised twice
  return sums;
}

Tensor any_part_sums(const Tensor& map) {
  const Tensor kept = kept_sums(map);
  if (kept.defined()) return kept;
  const c10::cuda::CUDAGuard guard(map.device());
  const SumsShape shape = sums_shape(map);
  const int parts = small_parts(shape);
  const Tensor sums = empty_sums(map, parts);
  C10_CUDA_CHECK(sum_small_parts(shape, parts, map.const_data_ptr(), sums.mutable_data_ptr<float>(),
                                 c10::cuda::getCurrentCUDAStream()));
  keep_part_sums(map, sums);
  return sums;
}

bool can_sum_parts(const Tensor& map) {
  return map.is_cuda() && map.scalar_type() == at::kBFloat16 && map.size(1) % 8 == 0 &&
         map.size(1) <= 2048;
}

}  // namespace ddpm::cuda
