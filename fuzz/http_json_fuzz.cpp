// Any bytes are either JSON that another parser reads alike, or refused.
#include <nlohmann/json.hpp>

#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "ddpm/serving/http/http_json.h"
#include "ddpm/serving/http/http_message.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size_bytes) {
  const std::string_view text(reinterpret_cast<const char*>(data), size_bytes);
  nlohmann::json json;
  try {
    json = ddpm::parse_client_json(text);
  } catch (const ddpm::HttpError&) {
    return 0;
  }
  const auto other = nlohmann::json::parse(text, nullptr, false);
  if (other.is_discarded()) std::abort();
  // Numbers may differ in their last bit; structure and text may not.
  if (json.type_name() != std::string_view(other.type_name()) || json.size() != other.size()) {
    std::abort();
  }
  if (nlohmann::json::parse(json.dump()) != json) std::abort();
  return 0;
}
