#include "ddpm/kernels/cuda/map_part_sums.h"

#include <ATen/ATen.h>
#include <c10/cuda/CUDAException.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>

#include <utility>

#include "ddpm/kernels/cuda/group_norm_sums_kernels.h"

namespace ddpm::cuda {
namespace {

/// What LibTorch lets a backend keep with a tensor.
struct KeptSums : c10::BackendMeta {
  KeptSums(Tensor of, int64_t at) : sums(std::move(of)), version(at) {}
  Tensor sums;
  int64_t version;  // of the map, when they were its sums
};

}  // namespace

void keep_part_sums(const Tensor& map, const Tensor& sums) {
  map.unsafeGetTensorImpl()->set_backend_meta(
      c10::make_intrusive<KeptSums>(sums, static_cast<int64_t>(map._version())));
}

Tensor part_sums(const Tensor& map) {
  const auto* kept = dynamic_cast<const KeptSums*>(map.unsafeGetTensorImpl()->get_backend_meta());
  if (kept != nullptr && kept->version == static_cast<int64_t>(map._version())) return kept->sums;
  const c10::cuda::CUDAGuard guard(map.device());
  const SumsShape shape{.images = static_cast<int>(map.size(0)),
                        .pixels = static_cast<int>(map.size(2) * map.size(3)),
                        .channels = static_cast<int>(map.size(1))};
  const Tensor sums = at::empty({map.size(0), shape.pixels / kSumPixels, map.size(1), 2},
                                map.options().memory_format(std::nullopt).dtype(at::kFloat));
  C10_CUDA_CHECK(sum_parts(shape, map.const_data_ptr(), sums.mutable_data_ptr<float>(),
                           c10::cuda::getCurrentCUDAStream()));
  keep_part_sums(map, sums);  // a skip's map is normalised twice
  return sums;
}

}  // namespace ddpm::cuda
