#pragma once

#include <cstddef>

#include "ddpm/checkpoint/pickle_torch.h"
#include "ddpm/checkpoint/pickle_value.h"

namespace ddpm {

/// The object of one pickle, and where the pickle ends in its source.
struct PickleResult {
  PickleValue value;
  std::size_t end = 0;
};

/// Reads a pickle of protocol 2 to 5 from the source of `objects`' heap. Python's unpickler is a
/// machine that can import and call anything; this one has only the opcodes that containers,
/// numbers, strings and `objects` need. It does not recurse, and what it keeps is counted against
/// the heap's budget.
///
/// @param start where the pickle begins in the source.
/// @throws std::invalid_argument, naming the class, for an object that is not part of a state dict.
/// @throws std::runtime_error, naming the file and the byte, for a damaged pickle.
PickleResult read_pickle(TorchObjects& objects, std::size_t start);

}  // namespace ddpm
