// Any bytes are either a request whose body ends in them, or refused; and however they are cut into
// pieces, the outcome is the same. The first byte says how long the pieces are.
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "ddpm/serving/http/http_request_parser.h"

namespace {

constexpr std::uint64_t kMaxBody = 4096;

/// Status and body, or "incomplete".
std::string outcome_of(std::string_view bytes, std::size_t step) {
  const std::size_t head_size = ddpm::find_head_end(bytes);
  if (head_size == 0) return "incomplete";
  try {
    ddpm::HttpRequestParser parser;
    const auto head = parser.parse_head(bytes.substr(0, head_size));
    if (!head.has_body()) return "200";
    std::size_t used = head_size;
    for (std::size_t end = head_size; end < bytes.size() && !parser.is_done();) {
      end = std::min(end + step, bytes.size());
      for (std::size_t count = 1; count > 0 && used < end && !parser.is_done();) {
        count = parser.put_body(bytes.substr(used, end - used), kMaxBody);
        used += count;
        if (used > end || parser.body_bytes() > kMaxBody) std::abort();
      }
    }
    return parser.is_done() ? "200" + parser.take_body() : "incomplete";
  } catch (const ddpm::HttpError& error) {
    return "refused";
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size_bytes) {
  if (size_bytes == 0) return 0;
  const std::string_view bytes(reinterpret_cast<const char*>(data) + 1, size_bytes - 1);
  if (outcome_of(bytes, bytes.size() + 1) != outcome_of(bytes, 1 + data[0] % 64)) std::abort();
  return 0;
}
