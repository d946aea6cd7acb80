#pragma once

#include <string>

#include "ddpm/core/tensor.h"

namespace ddpm {

/// The type that a .safetensors file calls `word`.
///
/// @throws std::runtime_error, naming the tensor and the file, for a word that is not supported.
at::ScalarType safetensors_type(const std::string& word, const std::string& tensor,
                                const std::string& file);

/// The word for a type.
///
/// @throws std::invalid_argument, naming the tensor, for a type that is not supported.
std::string safetensors_type_name(at::ScalarType dtype, const std::string& tensor);

/// Where a type stands in the order in which writers of the format lay out tensors, 0 first.
///
/// @throws as safetensors_type_name().
int safetensors_type_rank(at::ScalarType dtype, const std::string& tensor);

}  // namespace ddpm
