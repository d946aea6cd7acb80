#pragma once

#include <ctime>
#include <string>

#include "ddpm/serving/http/http_message.h"
#include "ddpm/serving/http/http_payload.h"

namespace ddpm {

/// "Sun, 06 Nov 1994 08:49:37 GMT"
std::string http_date(std::time_t when);

struct HttpResponseContext {
  std::string request_id;
  std::string page_policy;  ///< Content-Security-Policy of text/html
  HttpHeaders cors = {};
  bool is_http_1_0 = false;
  bool keep_alive = true;
};

/// Status line and fields, up to the empty line: the payload's own, then Date, length, connection
/// and security fields.
/// @throws std::invalid_argument if a field's name or value could end its line.
std::string response_head(const HttpPayload& payload, const HttpResponseContext& context);

}  // namespace ddpm
