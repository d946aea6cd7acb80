#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "ddpm/checkpoint/pickle_value.h"
#include "ddpm/core/tensor.h"

namespace ddpm {

/// Numbers that a file holds under a key, which tensors share.
struct TorchStorage {
  std::string key;
  at::ScalarType dtype = at::kFloat;
  std::uint64_t numel = 0;
};

/// A view of a storage. Every element lies within it, and the size in bytes is under 2^63.
struct TorchTensor {
  std::size_t storage = 0;  ///< index in TorchObjects::storages()
  std::int64_t offset = 0;  ///< in elements, as the strides are
  std::vector<std::int64_t> sizes;
  std::vector<std::int64_t> strides;
};

/// The few classes and functions that a state dict's pickle names, and what they do: OrderedDict,
/// set, torch.Size, storages and tensors, devices, dtypes and bytes. Nothing else exists here, so
/// nothing else can be called.
class TorchObjects {
 public:
  explicit TorchObjects(PickleHeap heap) : heap_(std::move(heap)) {}

  PickleHeap& heap() { return heap_; }
  const PickleHeap& heap() const { return heap_; }
  const std::vector<TorchStorage>& storages() const { return storages_; }
  const std::vector<TorchTensor>& tensors() const { return tensors_; }

  /// What `module.name` stands for.
  ///
  /// @throws std::invalid_argument, naming it, for anything that is not a part of a state dict.
  PickleValue global(std::string_view module, std::string_view name) const;

  /// The result of calling a global, which torch.save writes for tensors and OrderedDicts.
  ///
  /// @throws std::runtime_error if `function` can't be called or the arguments don't fit.
  PickleValue call(const PickleValue& function, const PickleValue& arguments);

  /// The storage that a persistent id names: ("storage", type, key, location, numel, ...).
  ///
  /// @throws std::runtime_error if it is anything else, or contradicts an earlier one of the key.
  PickleValue storage(const PickleValue& persistent_id);

 private:
  std::span<const PickleValue> tuple_items(const PickleValue& value, const char* what) const;
  std::vector<std::int64_t> dimensions(const PickleValue& value, const char* what) const;
  PickleValue ordered_dict(std::span<const PickleValue> arguments);
  PickleValue set(std::span<const PickleValue> arguments);
  PickleValue rebuild_tensor(std::span<const PickleValue> arguments);
  void check_within_storage(const TorchTensor& tensor) const;

  PickleHeap heap_;
  std::vector<TorchStorage> storages_;
  std::map<std::string, std::size_t, std::less<>> storage_of_key_;
  std::vector<TorchTensor> tensors_;
};

}  // namespace ddpm
