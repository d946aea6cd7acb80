#include "ddpm/checkpoint/pickle_cursor.h"

#include <limits>

namespace ddpm {

std::uint8_t PickleCursor::take_opcode() {
  opcode_at_ = position_;
  return static_cast<std::uint8_t>(take_number(1));
}

std::uint64_t PickleCursor::take_number(std::size_t size_bytes) {
  check(size_bytes <= left(), "expected ", size_bytes, " bytes more, got the end: cut short?");
  std::uint64_t value = 0;
  for (std::size_t i = 0; i < size_bytes; ++i) {
    value |= std::uint64_t{heap_.source()[position_ + i]} << (8 * i);
  }
  position_ += size_bytes;
  return value;
}

PickleValue PickleCursor::take_float() {
  std::uint64_t bits = 0;
  for (int i = 0; i < 8; ++i) bits = bits << 8 | take_number(1);
  return {.kind = PickleKind::kFloat, .number = bits};
}

PickleValue PickleCursor::take_text(PickleKind kind, std::size_t size_bytes) {
  const std::uint64_t size = take_number(size_bytes);
  check(size <= left() && size <= std::numeric_limits<std::uint32_t>::max(),
        "expected at most the ", left(), " bytes that are left, got a length of ", size);
  const PickleValue value{
      .kind = kind, .size = static_cast<std::uint32_t>(size), .number = position_};
  position_ += size;
  return value;
}

PickleValue PickleCursor::take_long(std::size_t size_bytes) {
  constexpr std::size_t kBits = 64;
  const PickleValue value = take_text(PickleKind::kLong, size_bytes);
  if (value.size > kBits / 8) return value;
  const auto bytes = heap_.source().subspan(value.number, value.size);
  std::uint64_t number = 0;
  for (std::size_t i = 0; i < bytes.size(); ++i) number |= std::uint64_t{bytes[i]} << (8 * i);
  const bool is_negative = !bytes.empty() && (bytes.back() & 0x80) != 0;
  if (is_negative && 8 * bytes.size() < kBits) {
    number |= std::numeric_limits<std::uint64_t>::max() << (8 * bytes.size());
  }
  return {.kind = PickleKind::kInt, .number = number};
}

std::string_view PickleCursor::take_line() {
  const std::string_view rest(reinterpret_cast<const char*>(heap_.source().data()) + position_,
                              left());
  const std::size_t size = rest.find('\n');
  check(size != std::string_view::npos, "expected a line, got the end: cut short?");
  position_ += size + 1;
  return rest.substr(0, size);
}

}  // namespace ddpm
