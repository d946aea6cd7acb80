#pragma once

#include <cstdint>
#include <string>

namespace ddpm {

/// `number` with zeros in front, so that names sort as numbers do: (42, 8) is "00000042". A longer
/// number keeps all its digits.
inline std::string padded_number(uint64_t number, size_t digits) {
  std::string text = std::to_string(number);
  if (text.size() < digits) text.insert(0, digits - text.size(), '0');
  return text;
}

}  // namespace ddpm
