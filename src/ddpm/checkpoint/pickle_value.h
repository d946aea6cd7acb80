#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace ddpm {

/// What a pickled state dict is made of. kOpaque is a value without use here: a
/// device, a dtype, bytes.
enum class PickleKind : std::uint8_t {
  kNone,
  kBool,
  kInt,
  kFloat,
  kText,
  kBytes,
  kLong,
  kTuple,
  kList,
  kDict,
  kSet,
  kGlobal,
  kStorage,
  kTensor,
  kOpaque
};

/// "a tensor", "a list": for messages.
const char* pickle_kind_name(PickleKind kind);

/// A value in 16 bytes, so that hostile pickles of one-byte values stay small.
struct PickleValue {
  PickleKind kind = PickleKind::kNone;
  std::uint32_t size = 0;    ///< text, bytes, long: their length; a global: its dtype
  std::uint64_t number = 0;  ///< bool, int: the value; float: its bits; text, bytes, long: offset
                             ///< in the source; containers, storages, tensors, globals: index
};

/// What a pickle's values live in, counted against a budget.
class PickleHeap {
 public:
  /// @param source       the bytes that pickles are read from; text points into them.
  /// @param name         the file, for errors.
  /// @param budget_bytes memory that values may take.
  PickleHeap(std::span<const std::uint8_t> source, std::string name, std::uint64_t budget_bytes)
      : source_(source), name_(std::move(name)), budget_bytes_(budget_bytes) {}

  std::span<const std::uint8_t> source() const { return source_; }
  const std::string& name() const { return name_; }

  /// @throws std::runtime_error, naming the file, if the budget is spent.
  void charge(std::uint64_t bytes);

  /// A container; a dict's items are key, value, key, value.
  PickleValue make(PickleKind kind, std::vector<PickleValue> items);
  const std::vector<PickleValue>& items(const PickleValue& container) const {
    return containers_[container.number];
  }
  void extend(const PickleValue& container, std::span<const PickleValue> more);

  /// Of text, bytes or a long.
  std::string_view text(const PickleValue& value) const {
    return {reinterpret_cast<const char*>(source_.data()) + value.number, value.size};
  }

 private:
  std::span<const std::uint8_t> source_;
  std::string name_;
  std::uint64_t budget_bytes_;
  std::vector<std::vector<PickleValue>> containers_;
};

}  // namespace ddpm
