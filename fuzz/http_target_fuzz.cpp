// Any request target is either a path that can't leave the root, or refused.
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "ddpm/serving/http/http_media_type.h"
#include "ddpm/serving/http/http_message.h"
#include "ddpm/serving/http/http_target.h"

namespace {

void check_target(std::string_view text) {
  const ddpm::HttpTarget target = ddpm::parse_http_target(text);
  if (target.path.size() > text.size() || !ddpm::is_utf8(target.path)) std::abort();
  for (const auto& segment : target.segments) {
    if (segment == ".." || segment == "." || segment.find('/') != segment.npos) std::abort();
    for (const char letter : segment) {
      if (letter >= 0 && letter < ' ') std::abort();
    }
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size_bytes) {
  const std::string_view text(reinterpret_cast<const char*>(data), size_bytes);
  try {
    check_target(text);
  } catch (const ddpm::HttpError&) {
  }
  try {
    ddpm::parse_media_type(text);
  } catch (const ddpm::HttpError&) {
  }
  return 0;
}
