#pragma once

#include <cstdint>

namespace ddpm {

/// Where place `index` of a shuffled epoch lies in the set: a bijection of [0, n) for each (seed,
/// epoch), computed without a table, so that the position in an epoch is all there is to resume.
///
/// A Feistel network on the smallest even number of bits that holds n - 1, its rounds keyed by
/// Philox (RandomStream::kOrder); values outside of [0, n) are passed through again until one lies
/// inside (cycle walking), fewer than four passes on average.
///
/// @throws std::invalid_argument unless 0 <= index < n.
int64_t permuted_index(uint64_t seed, uint64_t epoch, int64_t index, int64_t n);

}  // namespace ddpm
