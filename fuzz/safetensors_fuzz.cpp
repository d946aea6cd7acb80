// Any bytes are either a sound .safetensors file or refused with std::runtime_error.
#include <ATen/ATen.h>

#include <cstdint>
#include <cstdlib>
#include <stdexcept>

#include "ddpm/checkpoint/safetensors.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size_bytes) {
  try {
    const auto file = ddpm::parse_safetensors({data, size_bytes}, "fuzz");
    std::size_t tensor_bytes = 0;
    for (const auto& [name, tensor] : file.tensors) tensor_bytes += tensor.nbytes();
    if (tensor_bytes > size_bytes) std::abort();
  } catch (const std::runtime_error&) {
    return 0;
  }
  return 0;
}
