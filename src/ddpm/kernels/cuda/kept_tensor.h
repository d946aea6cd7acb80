#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <utility>

#include "ddpm/core/tensor.h"

// Sums of a map that are kept with it, so that whoever computes on needs no pass over it.
namespace ddpm::cuda {

/// What LibTorch lets a backend keep with a tensor. A `Kind` is a type that names what is kept.
template <typename Kind>
struct KeptTensor : c10::BackendMeta {
  KeptTensor(Tensor made, int64_t at) : values(std::move(made)), version(at) {}
  Tensor values;
  int64_t version;  // of the map, when they were made of it
};

/// Keeps them instead of what was kept. They go where the map's tensor goes, not to its views, and
/// count until it is written again.
template <typename Kind>
void keep_with(const Tensor& map, const Tensor& values) {
  map.unsafeGetTensorImpl()->set_backend_meta(
      c10::make_intrusive<KeptTensor<Kind>>(values, static_cast<int64_t>(map._version())));
}

/// Undefined if there are none.
template <typename Kind>
Tensor kept_with(const Tensor& map) {
  const auto* kept =
      dynamic_cast<const KeptTensor<Kind>*>(map.unsafeGetTensorImpl()->get_backend_meta());
  const bool count = kept != nullptr && kept->version == static_cast<int64_t>(map._version());
  return count ? kept->values : Tensor();
}

}  // namespace ddpm::cuda
