#pragma once

#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "ddpm/core/tensor.h"

namespace ddpm {

/// One tensor of a .safetensors file: bytes [begin, end) of the buffer behind the header.
struct TensorEntry {
  std::string name;
  at::ScalarType dtype = at::kFloat;
  std::vector<std::int64_t> shape;
  std::uint64_t begin = 0;
  std::uint64_t end = 0;
};

/// The table of contents of a .safetensors file; tensors in the order of their offsets.
struct SafetensorsHeader {
  std::vector<TensorEntry> tensors;
  std::map<std::string, std::string> metadata;
  std::uint64_t data_start = 0;  ///< where the buffer begins in the file
};

/// Parses and checks the header against the file it heads; `name` stands for it in errors.
///
/// @throws std::runtime_error, naming the file, the tensor and what is wrong.
SafetensorsHeader parse_safetensors_header(std::span<const std::uint8_t> file,
                                           const std::string& name);

/// The 8 bytes of length and the JSON, padded with spaces so that the buffer begins at a multiple
/// of 8. Offsets are those of `tensors`, which are written in their order.
///
/// @throws std::invalid_argument if a name or a metadata string is not UTF-8.
std::string format_safetensors_header(const std::vector<TensorEntry>& tensors,
                                      const std::map<std::string, std::string>& metadata);

}  // namespace ddpm
