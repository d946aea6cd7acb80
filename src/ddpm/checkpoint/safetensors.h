#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <span>
#include <string>

#include "ddpm/core/named_tensors.h"

namespace ddpm {

/// What a .safetensors file holds. Tensors are in the file's order.
struct SafetensorsFile {
  NamedTensors tensors;
  std::map<std::string, std::string> metadata;
};

/// Whose memory the tensors that were read use: their own, or the mapped file's. Mapped tensors
/// keep the map alive and must not be written to. They stay valid when the file is replaced by
/// another, as write_safetensors() does, but not when it is shortened in place.
enum class TensorStorage { kCopied, kMapped };

/// Reads a .safetensors file, on the CPU, after every check that docs/formats.md lists.
///
/// @throws std::runtime_error, naming the file, the tensor and what is wrong, unless the file is
///         well formed and its types are F64 F32 F16 BF16 I64 I32 I16 I8 U8 BOOL.
SafetensorsFile read_safetensors(const std::filesystem::path& path,
                                 TensorStorage storage = TensorStorage::kCopied);

/// The same for a file in memory, copied out of `bytes`; `name` stands for it in errors.
SafetensorsFile parse_safetensors(std::span<const std::uint8_t> bytes, const std::string& name);

/// Writes a .safetensors file: all of it, or nothing (temporary name, fsync, rename).
///
/// The same tensors give the same bytes, in whatever order they come: sorted by type, widest
/// first, then by name, as Python's safetensors does. Tensors may be on any device and of any
/// memory layout; they are copied to contiguous CPU memory one at a time.
///
/// @throws std::invalid_argument if a name comes twice, is empty, is not UTF-8 or is
///         "__metadata__", or a tensor is undefined or of another type than those above.
/// @throws std::runtime_error, naming the file, if it can't be written.
void write_safetensors(const std::filesystem::path& path, const NamedTensors& tensors,
                       const std::map<std::string, std::string>& metadata = {});

}  // namespace ddpm
