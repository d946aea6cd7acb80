#include "ddpm/checkpoint/pickle_torch.h"

#include <algorithm>
#include <array>
#include <limits>

#include "ddpm/core/check.h"
#include "ddpm/core/one_line.h"

namespace ddpm {
namespace {

enum class TorchGlobal : std::uint64_t {
  kOrderedDict,
  kSet,
  kSize,
  kOpaque,
  kRebuildTensor,
  kRebuildParameter,
  kStorageType
};

struct KnownGlobal {
  std::string_view module;
  std::string_view name;
  TorchGlobal global;
};

constexpr std::array kGlobals{
    KnownGlobal{"collections", "OrderedDict", TorchGlobal::kOrderedDict},
    KnownGlobal{"builtins", "set", TorchGlobal::kSet},
    KnownGlobal{"__builtin__", "set", TorchGlobal::kSet},
    KnownGlobal{"builtins", "frozenset", TorchGlobal::kSet},
    KnownGlobal{"__builtin__", "frozenset", TorchGlobal::kSet},
    KnownGlobal{"torch", "Size", TorchGlobal::kSize},
    KnownGlobal{"torch", "device", TorchGlobal::kOpaque},
    KnownGlobal{"_codecs", "encode", TorchGlobal::kOpaque},  // bytes, in protocol 2
    KnownGlobal{"torch._utils", "_rebuild_tensor_v2", TorchGlobal::kRebuildTensor},
    KnownGlobal{"torch._utils", "_rebuild_parameter", TorchGlobal::kRebuildParameter}};

struct StorageType {
  std::string_view storage;
  std::string_view dtype_name;
  at::ScalarType dtype;
};

constexpr std::array kStorageTypes{StorageType{"DoubleStorage", "float64", at::kDouble},
                                   StorageType{"FloatStorage", "float32", at::kFloat},
                                   StorageType{"HalfStorage", "float16", at::kHalf},
                                   StorageType{"BFloat16Storage", "bfloat16", at::kBFloat16},
                                   StorageType{"LongStorage", "int64", at::kLong},
                                   StorageType{"IntStorage", "int32", at::kInt},
                                   StorageType{"ShortStorage", "int16", at::kShort},
                                   StorageType{"CharStorage", "int8", at::kChar},
                                   StorageType{"ByteStorage", "uint8", at::kByte},
                                   StorageType{"BoolStorage", "bool", at::kBool}};

constexpr std::size_t kMaxDims = 64;
constexpr std::int64_t kMaxBytes = std::numeric_limits<std::int64_t>::max();

PickleValue global_value(TorchGlobal global, std::uint32_t dtype = 0) {
  return {.kind = PickleKind::kGlobal, .size = dtype, .number = static_cast<std::uint64_t>(global)};
}

bool is_global(const PickleValue& value, TorchGlobal global) {
  return value.kind == PickleKind::kGlobal && value.number == static_cast<std::uint64_t>(global);
}

std::int64_t int_of(const PickleValue& value) { return static_cast<std::int64_t>(value.number); }

template <typename... Parts>
void check_pickle(bool ok, const PickleHeap& heap, const Parts&... parts) {
  check_state(ok, "[read_torch_file] '", heap.name(), "' ", parts...);
}

}  // namespace

PickleValue TorchObjects::global(std::string_view module, std::string_view name) const {
  for (const auto& known : kGlobals) {
    if (known.module == module && known.name == name) return global_value(known.global);
  }
  for (const auto& type : kStorageTypes) {
    if (module != "torch") break;
    if (type.storage == name) {
      return global_value(TorchGlobal::kStorageType, static_cast<std::uint32_t>(type.dtype));
    }
    if (type.dtype_name == name) return {.kind = PickleKind::kOpaque};
  }
  const bool is_storage = module.starts_with("torch") && name.ends_with("Storage");
  const std::string shown = one_line(c10::str(module, ".", name));
  check_arg(!is_storage, "[read_torch_file] '", heap_.name(),
            "' type of a tensor: expected float64 float32 float16 bfloat16 int64 int32 int16 int8 "
            "uint8 or bool, got ",
            shown);
  check_arg(false, "[read_torch_file] '", heap_.name(),
            "': expected a state dict (tensors, numbers, strings and containers of them; save "
            "model.state_dict()), got a pickled object of class ",
            shown);
  return {};
}

PickleValue TorchObjects::call(const PickleValue& function, const PickleValue& arguments) {
  check_pickle(function.kind == PickleKind::kGlobal, heap_,
               "pickle: expected a function to call, got ", pickle_kind_name(function.kind));
  const auto items = tuple_items(arguments, "arguments of a call");
  switch (static_cast<TorchGlobal>(function.number)) {
    case TorchGlobal::kOrderedDict:
      return ordered_dict(items);
    case TorchGlobal::kSet:
      return set(items);
    case TorchGlobal::kSize:
      check_pickle(items.size() == 1 && items[0].kind == PickleKind::kTuple, heap_,
                   "torch.Size: expected a tuple, got something else");
      return items[0];
    case TorchGlobal::kOpaque:
      return {.kind = PickleKind::kOpaque};
    case TorchGlobal::kRebuildTensor:
      return rebuild_tensor(items);
    case TorchGlobal::kRebuildParameter:
      check_pickle(!items.empty() && items[0].kind == PickleKind::kTensor, heap_,
                   "parameter: expected a tensor in it, got none");
      return items[0];
    case TorchGlobal::kStorageType:
      break;
  }
  check_pickle(false, heap_, "pickle: expected a function to call, got the type of a storage");
  return {};
}

PickleValue TorchObjects::storage(const PickleValue& persistent_id) {
  const auto items = tuple_items(persistent_id, "id of a storage");
  const bool has_fields = items.size() >= 5 && items[0].kind == PickleKind::kText &&
                          heap_.text(items[0]) == "storage" &&
                          is_global(items[1], TorchGlobal::kStorageType) &&
                          items[2].kind == PickleKind::kText && items[4].kind == PickleKind::kInt;
  check_pickle(has_fields, heap_,
               "id of a storage: expected ('storage', type, key, location, size), got another");
  const bool is_whole = items.size() == 5 || items[5].kind == PickleKind::kNone;
  check_pickle(is_whole, heap_,
               "storage: expected a whole one, got a view, as PyTorch before 0.4 "
               "wrote them");
  const std::string_view key = heap_.text(items[2]);
  const auto dtype = static_cast<at::ScalarType>(items[1].size);
  const std::int64_t numel = int_of(items[4]);
  check_pickle(numel >= 0, heap_, "size of a storage: expected at least 0, got ", numel);
  const auto found = storage_of_key_.find(key);
  if (found == storage_of_key_.end()) {
    heap_.charge(2 * (sizeof(TorchStorage) + key.size()));
    storage_of_key_.emplace(key, storages_.size());
    storages_.push_back(
        {.key = std::string(key), .dtype = dtype, .numel = static_cast<std::uint64_t>(numel)});
    return {.kind = PickleKind::kStorage, .number = storages_.size() - 1};
  }
  const TorchStorage& earlier = storages_[found->second];
  check_pickle(earlier.dtype == dtype && earlier.numel == static_cast<std::uint64_t>(numel), heap_,
               "storage '", one_line(std::string(key)), "': expected ", earlier.numel, " of ",
               c10::toString(earlier.dtype), " everywhere, got ", numel, " of ",
               c10::toString(dtype), " too");
  return {.kind = PickleKind::kStorage, .number = found->second};
}

std::span<const PickleValue> TorchObjects::tuple_items(const PickleValue& value,
                                                       const char* what) const {
  check_pickle(value.kind == PickleKind::kTuple, heap_, what, ": expected a tuple, got ",
               pickle_kind_name(value.kind));
  return heap_.items(value);
}

std::vector<std::int64_t> TorchObjects::dimensions(const PickleValue& value,
                                                   const char* what) const {
  const auto items = tuple_items(value, what);
  check_pickle(items.size() <= kMaxDims, heap_, what, ": expected at most ", kMaxDims,
               " dimensions, got ", items.size());
  std::vector<std::int64_t> result;
  for (const auto& item : items) {
    check_pickle(item.kind == PickleKind::kInt && int_of(item) >= 0, heap_, what,
                 ": expected whole numbers from 0 on, got ",
                 item.kind == PickleKind::kInt ? "a negative one" : pickle_kind_name(item.kind));
    result.push_back(int_of(item));
  }
  return result;
}

/// Without arguments, or as Python 2 wrote it: with a list of pairs.
PickleValue TorchObjects::ordered_dict(std::span<const PickleValue> arguments) {
  std::vector<PickleValue> items;
  if (!arguments.empty()) {
    check_pickle(arguments.size() == 1 && arguments[0].kind == PickleKind::kList, heap_,
                 "OrderedDict: expected a list of pairs, got something else");
    for (const auto& pair : heap_.items(arguments[0])) {
      const bool is_pair = (pair.kind == PickleKind::kList || pair.kind == PickleKind::kTuple) &&
                           heap_.items(pair).size() == 2;
      check_pickle(is_pair, heap_, "OrderedDict: expected pairs, got something else");
      items.insert(items.end(), heap_.items(pair).begin(), heap_.items(pair).end());
    }
  }
  return heap_.make(PickleKind::kDict, std::move(items));
}

PickleValue TorchObjects::set(std::span<const PickleValue> arguments) {
  check_pickle(arguments.size() == 1 && arguments[0].kind == PickleKind::kList, heap_,
               "set: expected a list of its members, got something else");
  return heap_.make(PickleKind::kSet, heap_.items(arguments[0]));
}

PickleValue TorchObjects::rebuild_tensor(std::span<const PickleValue> arguments) {
  // (storage, offset, sizes, strides, requires_grad, hooks) and, for conjugates, metadata.
  check_pickle(arguments.size() == 6 || arguments.size() == 7, heap_,
               "tensor: expected 6 or 7 parts, got ", arguments.size());
  check_pickle(arguments[0].kind == PickleKind::kStorage, heap_, "tensor: expected a storage, got ",
               pickle_kind_name(arguments[0].kind));
  const bool has_offset = arguments[1].kind == PickleKind::kInt && int_of(arguments[1]) >= 0;
  check_pickle(has_offset, heap_, "offset of a tensor: expected a whole number from 0 on");
  const bool is_plain =
      arguments.size() == 6 || arguments[6].kind == PickleKind::kNone ||
      (arguments[6].kind == PickleKind::kDict && heap_.items(arguments[6]).empty());
  check_pickle(is_plain, heap_, "tensor: expected a plain one, got one with metadata");
  TorchTensor tensor{.storage = arguments[0].number,
                     .offset = int_of(arguments[1]),
                     .sizes = dimensions(arguments[2], "sizes of a tensor"),
                     .strides = dimensions(arguments[3], "strides of a tensor")};
  check_pickle(tensor.sizes.size() == tensor.strides.size(), heap_,
               "strides of a tensor: expected ", tensor.sizes.size(), ", one a dimension, got ",
               tensor.strides.size());
  check_within_storage(tensor);
  heap_.charge(sizeof(TorchTensor) + 2 * tensor.sizes.size() * sizeof(std::int64_t));
  tensors_.push_back(std::move(tensor));
  return {.kind = PickleKind::kTensor, .number = tensors_.size() - 1};
}

void TorchObjects::check_within_storage(const TorchTensor& tensor) const {
  const TorchStorage& storage = storages_[tensor.storage];
  const auto element_bytes = static_cast<std::int64_t>(c10::elementSize(storage.dtype));
  // Zeros among the sizes don't excuse the others, as in .safetensors files.
  std::int64_t max_numel = kMaxBytes / element_bytes;
  bool is_empty = false;
  for (const std::int64_t size : tensor.sizes) {
    is_empty |= size == 0;
    max_numel /= std::max<std::int64_t>(size, 1);
    check_pickle(max_numel > 0, heap_, "sizes of a tensor: expected less than 2^63 bytes, got ",
                 at::IntArrayRef(tensor.sizes));
  }
  if (is_empty) return;
  std::int64_t last = tensor.offset;
  bool fits = true;
  for (std::size_t i = 0; i < tensor.sizes.size() && fits; ++i) {
    const std::int64_t steps = tensor.sizes[i] - 1;
    fits = steps == 0 || tensor.strides[i] <= (kMaxBytes - last) / steps;
    if (fits) last += steps * tensor.strides[i];
  }
  check_pickle(fits && static_cast<std::uint64_t>(last) < storage.numel, heap_, "storage '",
               one_line(storage.key), "': expected the elements of a tensor within its ",
               storage.numel, ", got sizes ", at::IntArrayRef(tensor.sizes), ", strides ",
               at::IntArrayRef(tensor.strides), " from ", tensor.offset);
}

}  // namespace ddpm
