// Any multipart body is either parts that lie in it, one after another, or refused.
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "ddpm/serving/http/http_message.h"
#include "ddpm/serving/http/http_multipart.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size_bytes) {
  const std::string_view body(reinterpret_cast<const char*>(data), size_bytes);
  try {
    const char* at = body.data();
    for (const auto& part : ddpm::parse_multipart("multipart/form-data; boundary=X", body)) {
      if (part.name.empty() || part.body.data() < at) std::abort();
      at = part.body.data() + part.body.size();
      if (at > body.data() + body.size()) std::abort();
    }
  } catch (const ddpm::HttpError&) {
  }
  return 0;
}
