#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>

#include "ddpm/checkpoint/pickle_torch.h"
#include "ddpm/checkpoint/pickle_value.h"

namespace ddpm {

/// What torch.save wrote, still unread: the object, whose tensors are views of storages, and where
/// the storages' bytes are. All of it points into the file's bytes.
struct TorchFileLayout {
  TorchObjects objects;
  PickleValue object = {};
  /// The bytes of a storage, checked: as many as its type and size take.
  std::function<std::span<const std::uint8_t>(const TorchStorage&)> storage_bytes;
};

/// Reads a file in either of torch.save's layouts: a zip archive (PyTorch 1.6 and later) with
/// TOP/data.pkl and TOP/data/KEY, or pickles and storages one behind the other.
///
/// @param name stands for the file in errors.
/// @throws std::invalid_argument as read_pickle().
/// @throws std::runtime_error, naming the file and what is wrong, if it is damaged, big-endian, or
///         not a file of torch.save.
TorchFileLayout read_torch_layout(std::span<const std::uint8_t> file, const std::string& name);

}  // namespace ddpm
