#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

#include "ddpm/checkpoint/pickle_value.h"
#include "ddpm/core/check.h"

namespace ddpm {

/// Reads a pickle's bytes from a heap's source, in order; never past the end.
class PickleCursor {
 public:
  PickleCursor(const PickleHeap& heap, std::size_t start) : heap_(heap), position_(start) {}

  std::size_t position() const { return position_; }

  /// Reads the next opcode; errors name its place from then on.
  std::uint8_t take_opcode();

  /// @throws std::runtime_error, naming the file and the opcode's place, unless `ok`.
  template <typename... Parts>
  void check(bool ok, const Parts&... parts) const {
    check_state(ok, "[read_torch_file] '", heap_.name(), "' pickle at byte ", opcode_at_, ": ",
                parts...);
  }

  /// A little-endian number of up to 8 bytes.
  std::uint64_t take_number(std::size_t size_bytes);
  /// A big-endian float64.
  PickleValue take_float();
  /// A number of `size_bytes` bytes that says how many bytes follow, and these.
  PickleValue take_text(PickleKind kind, std::size_t size_bytes);
  /// The same as a whole number: an int up to 64 bits, else a long.
  PickleValue take_long(std::size_t size_bytes);
  /// Up to the next newline, which is skipped.
  std::string_view take_line();

 private:
  std::size_t left() const { return heap_.source().size() - position_; }

  const PickleHeap& heap_;
  std::size_t position_;
  std::size_t opcode_at_ = 0;
};

}  // namespace ddpm
