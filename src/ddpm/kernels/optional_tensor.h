#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <optional>

#include "ddpm/core/tensor.h"

// What a kernel's call makes of a tensor that may be undefined.
namespace ddpm {

/// Null if undefined.
inline const void* data_of(const Tensor& tensor) {
  return tensor.defined() ? tensor.const_data_ptr() : nullptr;
}
/// Null if undefined.
inline void* room_of(const Tensor& tensor) {
  return tensor.defined() ? tensor.mutable_data_ptr() : nullptr;
}
/// @param map [N, C, H, W]
inline Tensor channels_last(const Tensor& map) {
  return map.defined() ? map.contiguous(at::MemoryFormat::ChannelsLast) : map;
}
/// @param table [N, C]
/// @return      with unit stride along C; rows may be strided, as those of a chunk are.
inline Tensor with_dense_rows(const Tensor& table) {
  return !table.defined() || table.stride(1) == 1 ? table : table.contiguous();
}
/// Autograd takes no undefined tensor.
inline std::optional<Tensor> if_defined(const Tensor& tensor) {
  return tensor.defined() ? std::optional<Tensor>(tensor) : std::nullopt;
}

}  // namespace ddpm
