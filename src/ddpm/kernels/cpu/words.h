#pragma once

#include <cstdint>

#include "ddpm/core/tensor.h"
#include "ddpm/kernels/optional_tensor.h"

// bfloat16 for kernels that know no LibTorch.
namespace ddpm::cpu {

/// Null if undefined.
inline const uint16_t* words_of(const Tensor& tensor) {
  return static_cast<const uint16_t*>(data_of(tensor));
}
inline uint16_t* mutable_words_of(const Tensor& tensor) {
  return static_cast<uint16_t*>(room_of(tensor));
}

}  // namespace ddpm::cpu
