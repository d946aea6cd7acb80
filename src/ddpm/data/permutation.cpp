#include "ddpm/data/permutation.h"

#include <algorithm>
#include <array>
#include <bit>

#include "ddpm/core/check.h"
#include "ddpm/core/philox.h"

namespace ddpm {
namespace {

// Four rounds already hide the structure of wide halves; halves of one or two bits, which small
// sets have, mix only slowly.
constexpr uint32_t kRounds = 8;

using PhiloxKey = std::array<uint32_t, 2>;

/// Halves have at most 32 bits: n is below 2^63.
uint64_t feistel(PhiloxKey key, uint64_t value, int half_bits) {
  const uint64_t mask = (uint64_t{1} << half_bits) - 1;
  uint64_t left = value >> half_bits, right = value & mask;
  for (uint32_t round = 0; round < kRounds; ++round) {
    const uint32_t drawn = philox4x32_10({static_cast<uint32_t>(right), round, 0, 0}, key)[0];
    const uint64_t mixed = left ^ (drawn & mask);
    left = right;
    right = mixed;
  }
  return left << half_bits | right;
}

}  // namespace

int64_t permuted_index(uint64_t seed, uint64_t epoch, int64_t index, int64_t n) {
  check_arg(index >= 0 && index < n, "[permuted_index] index: expected 0 <= index < ", n, ", got ",
            index);
  const auto count = static_cast<uint64_t>(n);
  const int half_bits = std::max(1, (static_cast<int>(std::bit_width(count - 1)) + 1) / 2);
  const uint64_t bits = random_bits({.seed = seed, .stream = RandomStream::kOrder}, epoch, 0);
  const PhiloxKey key{static_cast<uint32_t>(bits), static_cast<uint32_t>(bits >> 32)};
  auto value = static_cast<uint64_t>(index);
  do {
    value = feistel(key, value, half_bits);
  } while (value >= count);
  return static_cast<int64_t>(value);
}

}  // namespace ddpm
