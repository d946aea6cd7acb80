#pragma once

#include <memory>
#include <optional>
#include <string>

#include "ddpm/serving/http/http_request_parser.h"
#include "ddpm/serving/http/http_service_state.h"

namespace ddpm {

/// What becomes of a request whose head is read.
struct HttpAdmission {
  const HttpRoute* route = nullptr;    ///< handles it after its body; nullptr: `answer` is all
  std::optional<HttpResponse> answer;  ///< to a preflight or OPTIONS
};

/// Fills in what is known from the head alone, sound or not: id, trace, fields.
void begin_request(HttpRequest& request, const HttpRequestHead& head);

/// Decides before the body is read: host, target, method, origin, route, key, type and length of
/// the body, in this order; fills in the rest of `request`, except its body.
/// @throws HttpError with the status that names what is wrong.
HttpAdmission admit_request(const HttpServiceState& state, const HttpRequestHead& head,
                            HttpRequest& request);

/// Calls the route's handler, in a worker if it says so, and turns what it throws into an answer:
/// HttpError as it is, std::invalid_argument 400 with its message, others 500 without one.
void call_handler(HttpServiceState& state, const HttpRoute& route,
                  const std::shared_ptr<const HttpRequest>& request,
                  const HttpResponder& responder);

}  // namespace ddpm
