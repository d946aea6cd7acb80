// Any bytes are either a sound .pth file (a zip archive or pickles), or refused with a sentence.
// The first byte says what the others are: a whole file, or the pickle of one.
#include <ATen/ATen.h>

#include <cstdint>
#include <cstdlib>
#include <stdexcept>

#include "ddpm/checkpoint/pickle_reader.h"
#include "ddpm/checkpoint/torch_file.h"

namespace {

void read_file(std::span<const std::uint8_t> bytes) {
  constexpr std::size_t kTensorBytesFloor = std::size_t{16} << 20;
  std::size_t tensor_bytes = 0;
  for (const auto& [name, tensor] : ddpm::parse_torch_file(bytes, "fuzz")) {
    tensor_bytes += tensor.nbytes();
  }
  if (tensor_bytes > kTensorBytesFloor + 4 * bytes.size()) std::abort();
}

void read_object(std::span<const std::uint8_t> bytes) {
  constexpr std::uint64_t kBudget = std::uint64_t{1} << 20;
  ddpm::TorchObjects objects(ddpm::PickleHeap(bytes, "fuzz", kBudget));
  if (ddpm::read_pickle(objects, 0).end > bytes.size()) std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size_bytes) {
  if (size_bytes == 0) return 0;
  try {
    const std::span<const std::uint8_t> rest(data + 1, size_bytes - 1);
    data[0] % 2 == 0 ? read_file(rest) : read_object(rest);
  } catch (const std::invalid_argument&) {
    return 0;
  } catch (const std::runtime_error&) {
    return 0;
  }
  return 0;
}
