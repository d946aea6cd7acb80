#pragma once

#include <cstdint>
#include <cstring>
#include <string>
#include <vector>

namespace ddpm::testing {

/// A .safetensors file put together by hand: length, JSON, `data_bytes` zeros.
inline std::vector<std::uint8_t> safetensors_bytes(const std::string& json,
                                                   std::size_t data_bytes = 0) {
  const std::uint64_t length = json.size();
  std::vector<std::uint8_t> bytes(sizeof(length) + json.size() + data_bytes);
  std::memcpy(bytes.data(), &length, sizeof(length));
  std::memcpy(bytes.data() + sizeof(length), json.data(), json.size());
  return bytes;
}

/// The message of the std::runtime_error that `call` throws; "" if it throws none.
template <typename Error, typename Call>
std::string message_of(Call&& call) {
  try {
    call();
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

}  // namespace ddpm::testing
