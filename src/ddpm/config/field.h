#pragma once

#include <cstddef>
#include <limits>

namespace ddpm {

/// The values a numeric field takes, both ends included. The default allows every value.
struct Range {
  double min = -std::numeric_limits<double>::infinity();
  double max = std::numeric_limits<double>::infinity();
};

inline Range at_least(double min) { return {.min = min}; }
inline Range between(double min, double max) { return {.min = min, .max = max}; }

/// The words that TOML, JSON and flags use for the values of `Enum`: a specialisation has
/// `static constexpr std::array names`, in the order of the enumerators, which count from 0.
template <typename Enum>
struct EnumNames;

/// The word of one value.
template <typename Enum>
constexpr const char* enum_word(Enum value) {
  return EnumNames<Enum>::names.at(static_cast<std::size_t>(value));
}

}  // namespace ddpm
