#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "ddpm/serving/http/http_message.h"

namespace ddpm {

/// `text` in quotes for a log line: control characters, quotes, backslashes and bytes that aren't
/// ASCII as \xNN, at most `max_bytes` of it. Nobody can forge a line.
std::string quoted_for_log(std::string_view text, size_t max_bytes = 200);

struct HttpAccessRecord {
  std::string method = {};  ///< as the client wrote it
  std::string target = {};
  std::string route = {};  ///< the pattern; empty: none
  int status = 0;
  uint64_t sent_bytes = 0;
  double seconds = 0;
  std::string request_id = {}, traceparent = {}, remote_address = {};
  int key = -1;
  std::string ended = {};  ///< "" if the client got all, else "client_left", "slow_reader", ...
};

/// method="GET" target="/v1/models" route="/v1/models" status=200 bytes=312 ms=0.4 id="..." ...
std::string access_line(const HttpAccessRecord& record);

/// The client's X-Request-Id if it is 1 to 64 letters of [A-Za-z0-9._-], else 16 random hex digits.
std::string choose_request_id(const std::string* given);

/// A W3C traceparent if it is well-formed, else empty.
std::string sound_traceparent(const std::string* given);

}  // namespace ddpm
