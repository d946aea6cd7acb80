#include "ddpm/checkpoint/pickle_reader.h"

#include <array>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "ddpm/checkpoint/pickle_cursor.h"
#include "ddpm/checkpoint/pickle_opcode.h"

namespace ddpm {
namespace {

constexpr std::uint64_t kHighestProtocol = 5;

class PickleReader {
 public:
  PickleReader(TorchObjects& objects, std::size_t start)
      : objects_(objects), heap_(objects.heap()), cursor_(objects.heap(), start) {}

  PickleResult read() {
    while (true) {
      const auto opcode = static_cast<PickleOpcode>(cursor_.take_opcode());
      if (opcode == PickleOpcode::kStop) return {.value = pop(), .end = cursor_.position()};
      run(opcode);
    }
  }

 private:
  void push(const PickleValue& value) {
    heap_.charge(sizeof(PickleValue));
    stack_.push_back(value);
  }

  /// The lowest place of the stack that the opcode may take: values below a mark stay.
  std::size_t floor() const { return marks_.empty() ? 0 : marks_.back(); }

  PickleValue& top() {
    cursor_.check(stack_.size() > floor(), "expected a value on the stack, got none");
    return stack_.back();
  }

  PickleValue pop() {
    const PickleValue value = top();
    stack_.pop_back();
    return value;
  }

  /// Takes the values behind the last mark, and the mark.
  std::vector<PickleValue> pop_mark() {
    cursor_.check(!marks_.empty(), "expected a mark on the stack, got none");
    const auto first = stack_.begin() + static_cast<std::ptrdiff_t>(marks_.back());
    const std::vector<PickleValue> values(first, stack_.end());
    stack_.erase(first, stack_.end());
    marks_.pop_back();
    return values;
  }

  void push_tuple(std::size_t size) {
    cursor_.check(stack_.size() - floor() >= size, "expected ", size, " values on the stack, got ",
                  stack_.size() - floor());
    const auto first = stack_.end() - static_cast<std::ptrdiff_t>(size);
    const PickleValue tuple =
        heap_.make(PickleKind::kTuple, std::vector<PickleValue>(first, stack_.end()));
    stack_.erase(first, stack_.end());
    push(tuple);
  }

  void extend_top(PickleKind kind, std::span<const PickleValue> values) {
    const PickleValue container = top();
    cursor_.check(container.kind == kind, "expected ", pickle_kind_name(kind), " to add to, got ",
                  pickle_kind_name(container.kind));
    cursor_.check(kind != PickleKind::kDict || values.size() % 2 == 0,
                  "expected keys and values in pairs, got ", values.size());
    heap_.extend(container, values);
  }

  void memoize(std::uint64_t index) {
    // Picklers count up; so a table without holes is as large as the pickle makes it.
    cursor_.check(index <= memo_.size(), "expected a memo index of at most ", memo_.size(),
                  ", got ", index);
    const PickleValue value = top();
    if (index < memo_.size()) {
      memo_[index] = value;
      return;
    }
    heap_.charge(sizeof(PickleValue));
    memo_.push_back(value);
  }

  void push_memo(std::uint64_t index) {
    cursor_.check(index < memo_.size(), "expected a memo index under ", memo_.size(), ", got ",
                  index);
    push(memo_[index]);
  }

  void stack_global() {
    const PickleValue name = pop();
    const PickleValue module = pop();
    cursor_.check(name.kind == PickleKind::kText && module.kind == PickleKind::kText,
                  "expected a module and a name, got ", pickle_kind_name(module.kind), " and ",
                  pickle_kind_name(name.kind));
    push(objects_.global(heap_.text(module), heap_.text(name)));
  }

  void global() {
    const std::string_view module = cursor_.take_line();
    push(objects_.global(module, cursor_.take_line()));
  }

  void reduce() {
    const PickleValue arguments = pop();
    push(objects_.call(pop(), arguments));
  }

  /// Attributes of an OrderedDict: the versions of its modules, which nothing here needs.
  void build() {
    pop();
    cursor_.check(top().kind == PickleKind::kDict,
                  "expected attributes of an OrderedDict, got those of ",
                  pickle_kind_name(top().kind));
  }

  /// Protocol marks and frames, which say nothing about the object.
  void check_protocol() {
    const std::uint64_t protocol = cursor_.take_number(1);
    cursor_.check(protocol <= kHighestProtocol, "expected protocol ", kHighestProtocol,
                  " or lower, got ", protocol);
  }

  void run(PickleOpcode opcode) {
    if (push_value(opcode) || run_container(opcode) || run_object(opcode)) return;
    cursor_.check(false, "expected an opcode that a state dict needs, got ",
                  static_cast<int>(opcode));
  }

  bool push_value(PickleOpcode opcode) {
    const auto value = take_value(opcode);
    if (value) push(*value);
    return value.has_value();
  }

  std::optional<PickleValue> take_value(PickleOpcode opcode) {
    switch (opcode) {
      case PickleOpcode::kNone:
        return PickleValue{};
      case PickleOpcode::kNewTrue:
        return PickleValue{.kind = PickleKind::kBool, .number = 1};
      case PickleOpcode::kNewFalse:
        return PickleValue{.kind = PickleKind::kBool, .number = 0};
      case PickleOpcode::kBinInt:
        return PickleValue{.kind = PickleKind::kInt,
                           .number = static_cast<std::uint64_t>(
                               std::int64_t{static_cast<std::int32_t>(cursor_.take_number(4))})};
      case PickleOpcode::kBinInt1:
        return PickleValue{.kind = PickleKind::kInt, .number = cursor_.take_number(1)};
      case PickleOpcode::kBinInt2:
        return PickleValue{.kind = PickleKind::kInt, .number = cursor_.take_number(2)};
      case PickleOpcode::kLong1:
        return cursor_.take_long(1);
      case PickleOpcode::kLong4:
        return cursor_.take_long(4);
      case PickleOpcode::kBinFloat:
        return cursor_.take_float();
      default:
        return take_string(opcode);
    }
  }

  std::optional<PickleValue> take_string(PickleOpcode opcode) {
    switch (opcode) {
      case PickleOpcode::kShortBinString:  // text of Python 2
      case PickleOpcode::kShortBinUnicode:
        return cursor_.take_text(PickleKind::kText, 1);
      case PickleOpcode::kBinString:
      case PickleOpcode::kBinUnicode:
        return cursor_.take_text(PickleKind::kText, 4);
      case PickleOpcode::kBinUnicode8:
        return cursor_.take_text(PickleKind::kText, 8);
      case PickleOpcode::kShortBinBytes:
        return cursor_.take_text(PickleKind::kBytes, 1);
      case PickleOpcode::kBinBytes:
        return cursor_.take_text(PickleKind::kBytes, 4);
      case PickleOpcode::kBinBytes8:
      case PickleOpcode::kByteArray8:
        return cursor_.take_text(PickleKind::kBytes, 8);
      default:
        return std::nullopt;
    }
  }

  bool run_container(PickleOpcode opcode) {
    switch (opcode) {
      case PickleOpcode::kEmptyTuple:
        push(heap_.make(PickleKind::kTuple, {}));
        return true;
      case PickleOpcode::kEmptyList:
        push(heap_.make(PickleKind::kList, {}));
        return true;
      case PickleOpcode::kEmptyDict:
        push(heap_.make(PickleKind::kDict, {}));
        return true;
      case PickleOpcode::kEmptySet:
        push(heap_.make(PickleKind::kSet, {}));
        return true;
      case PickleOpcode::kTuple1:
        push_tuple(1);
        return true;
      case PickleOpcode::kTuple2:
        push_tuple(2);
        return true;
      case PickleOpcode::kTuple3:
        push_tuple(3);
        return true;
      case PickleOpcode::kTuple:
        push(heap_.make(PickleKind::kTuple, pop_mark()));
        return true;
      case PickleOpcode::kFrozenSet:
        push(heap_.make(PickleKind::kSet, pop_mark()));
        return true;
      default:
        return fill_container(opcode);
    }
  }

  bool fill_container(PickleOpcode opcode) {
    switch (opcode) {
      case PickleOpcode::kAppend: {
        const PickleValue item = pop();
        extend_top(PickleKind::kList, {&item, 1});
        return true;
      }
      case PickleOpcode::kAppends:
        extend_top(PickleKind::kList, pop_mark());
        return true;
      case PickleOpcode::kAddItems:
        extend_top(PickleKind::kSet, pop_mark());
        return true;
      case PickleOpcode::kSetItem: {
        const PickleValue item = pop();
        const PickleValue key = pop();
        extend_top(PickleKind::kDict, std::array{key, item});
        return true;
      }
      case PickleOpcode::kSetItems:
        extend_top(PickleKind::kDict, pop_mark());
        return true;
      default:
        return false;
    }
  }

  bool run_object(PickleOpcode opcode) {
    switch (opcode) {
      case PickleOpcode::kGlobal:
        global();
        return true;
      case PickleOpcode::kStackGlobal:
        stack_global();
        return true;
      case PickleOpcode::kInst: {
        const std::string_view module = cursor_.take_line();
        objects_.global(module, cursor_.take_line());
        return false;
      }
      case PickleOpcode::kReduce:
        reduce();
        return true;
      case PickleOpcode::kBuild:
        build();
        return true;
      case PickleOpcode::kBinPersId: {
        const PickleValue id = pop();
        push(objects_.storage(id));
        return true;
      }
      default:
        return run_stack(opcode);
    }
  }

  bool run_stack(PickleOpcode opcode) {
    switch (opcode) {
      case PickleOpcode::kMark:
        heap_.charge(sizeof(std::size_t));
        marks_.push_back(stack_.size());
        return true;
      case PickleOpcode::kPop:
        pop();
        return true;
      case PickleOpcode::kPopMark:
        pop_mark();
        return true;
      case PickleOpcode::kBinGet:
        push_memo(cursor_.take_number(1));
        return true;
      case PickleOpcode::kLongBinGet:
        push_memo(cursor_.take_number(4));
        return true;
      case PickleOpcode::kBinPut:
        memoize(cursor_.take_number(1));
        return true;
      case PickleOpcode::kLongBinPut:
        memoize(cursor_.take_number(4));
        return true;
      case PickleOpcode::kMemoize:
        memoize(memo_.size());
        return true;
      case PickleOpcode::kProto:
        check_protocol();
        return true;
      case PickleOpcode::kFrame:
        cursor_.take_number(8);  // how many bytes may be read at once
        return true;
      default:
        return false;
    }
  }

  TorchObjects& objects_;
  PickleHeap& heap_;
  PickleCursor cursor_;
  std::vector<PickleValue> stack_;
  std::vector<std::size_t> marks_;
  std::vector<PickleValue> memo_;
};

}  // namespace

PickleResult read_pickle(TorchObjects& objects, std::size_t start) {
  return PickleReader(objects, start).read();
}

}  // namespace ddpm
