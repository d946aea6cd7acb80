#include "ddpm/checkpoint/pickle_value.h"

#include <stdexcept>
#include <utility>

#include "ddpm/core/check.h"

namespace ddpm {
namespace {

// A vector and its block on the C++ heap.
constexpr std::uint64_t kContainerBytes = 64;

}  // namespace

const char* pickle_kind_name(PickleKind kind) {
  switch (kind) {
    case PickleKind::kNone:
      return "None";
    case PickleKind::kBool:
      return "a bool";
    case PickleKind::kInt:
    case PickleKind::kLong:
      return "a whole number";
    case PickleKind::kFloat:
      return "a float";
    case PickleKind::kText:
      return "a string";
    case PickleKind::kBytes:
      return "bytes";
    case PickleKind::kTuple:
      return "a tuple";
    case PickleKind::kList:
      return "a list";
    case PickleKind::kDict:
      return "a dict";
    case PickleKind::kSet:
      return "a set";
    case PickleKind::kGlobal:
      return "a class or function";
    case PickleKind::kStorage:
      return "a storage";
    case PickleKind::kTensor:
      return "a tensor";
    case PickleKind::kOpaque:
      return "a device, a dtype or bytes";
  }
  throw std::logic_error("[pickle_kind_name] not a PickleKind");
}

void PickleHeap::charge(std::uint64_t bytes) {
  check_state(bytes <= budget_bytes_, "[read_torch_file] '", name_,
              "' pickle: expected values in proportion to the file's size, got more");
  budget_bytes_ -= bytes;
}

PickleValue PickleHeap::make(PickleKind kind, std::vector<PickleValue> items) {
  charge(kContainerBytes + items.size() * sizeof(PickleValue));
  containers_.push_back(std::move(items));
  return {.kind = kind, .number = containers_.size() - 1};
}

void PickleHeap::extend(const PickleValue& container, std::span<const PickleValue> more) {
  charge(more.size() * sizeof(PickleValue));
  auto& items = containers_[container.number];
  items.insert(items.end(), more.begin(), more.end());
}

}  // namespace ddpm
