#pragma once

#include <cstdint>
#include <map>
#include <span>
#include <string>

#include "ddpm/checkpoint/torch_file_layout.h"
#include "ddpm/core/tensor.h"

namespace ddpm {

/// Copies tensors out of a file, and looks at each storage once.
class TorchTensorCopier {
 public:
  /// @param file_bytes the file's size, which bounds what its tensors take: 4 times it and 16 MiB.
  TorchTensorCopier(const TorchFileLayout& layout, std::uint64_t file_bytes);

  /// Contiguous, on the CPU.
  ///
  /// @param tensor a tensor value of the layout; @param name its name, for errors.
  /// @throws std::runtime_error, naming file and tensor, if its storage is damaged, or the tensors
  ///         together are larger than the file's size allows.
  Tensor copy(const PickleValue& tensor, const std::string& name);

 private:
  const TorchFileLayout& layout_;
  std::uint64_t max_bytes_;
  std::uint64_t bytes_left_;
  std::map<std::size_t, std::span<const std::uint8_t>> storages_;
};

}  // namespace ddpm
