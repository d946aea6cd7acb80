#include "ddpm/serving/http/http_admission.h"

#include <algorithm>

#include "ddpm/core/log.h"
#include "ddpm/serving/http/http_media_type.h"
#include "ddpm/serving/http/http_target.h"

namespace ddpm {
namespace {

constexpr HttpMethod kMethods[] = {HttpMethod::kGet,     HttpMethod::kHead,  HttpMethod::kPost,
                                   HttpMethod::kPut,     HttpMethod::kPatch, HttpMethod::kDelete,
                                   HttpMethod::kOptions, HttpMethod::kTrace, HttpMethod::kQuery};

HttpMethod method_of(const std::string& name) {
  for (const HttpMethod method : kMethods) {
    if (http_method_name(method) == name) return method;
  }
  throw HttpError(501, "method_not_allowed", "This method is unknown here.");
}

bool changes_something(HttpMethod method) {
  return method != HttpMethod::kGet && method != HttpMethod::kHead &&
         method != HttpMethod::kOptions;
}

HttpError error_with(HttpError error, const std::string& name, const std::string& value) {
  error.headers.emplace_back(name, value);
  return error;
}

HttpResponse answer_options(const HttpServiceState& state, const HttpRequest& request,
                            const std::string& allow) {
  HttpResponse response;
  response.status = 204;
  response.headers = state.origins.preflight_fields(request.headers, allow);
  response.headers.emplace_back("Allow", allow);
  return response;
}

void check_body(const HttpRoute& route, const HttpRequestHead& head) {
  const bool takes_body = route.max_body_bytes > 0;
  const std::string* const length = find_header(head.headers, "Content-Length");
  if (takes_body && !head.is_chunked && length == nullptr) {
    throw HttpError(411, "invalid_request", "This request needs a body with its length.");
  }
  if (!takes_body && !head.has_body()) return;
  if (!takes_body) throw HttpError(413, "too_large", "This request takes no body.");
  if (head.content_length > static_cast<uint64_t>(route.max_body_bytes)) {
    throw HttpError(413, "too_large",
                    "The body is longer than " + std::to_string(route.max_body_bytes) + " bytes.");
  }
  const std::string* const given = find_header(head.headers, "Content-Type");
  const std::string type = given == nullptr ? "" : parse_media_type(*given).type;
  if (std::find(route.media_types.begin(), route.media_types.end(), type) ==
      route.media_types.end()) {
    throw HttpError(415, "invalid_request",
                    "Expected a body of type " + route.media_types[0] + ".");
  }
}

/// The part of admit_request() that depends on the route.
HttpAdmission admit_to_route(const HttpServiceState& state, const HttpRequestHead& head,
                             HttpRequest& request, const std::vector<std::string>& segments) {
  HttpRouter::Match match = state.router.find(request.method, segments);
  if (match.route == nullptr && match.allow.empty()) {
    throw HttpError(404, "not_found", "There is nothing at this path.");
  }
  if (match.route == nullptr && request.method == HttpMethod::kOptions) {
    return {nullptr, answer_options(state, request, match.allow)};
  }
  if (match.route == nullptr) {
    throw error_with(HttpError(405, "method_not_allowed", "This path takes " + match.allow + "."),
                     "Allow", match.allow);
  }
  request.route = match.route->pattern;
  request.parameters = std::move(match.parameters);
  request.key = state.keys.find(head.headers);
  if (match.route->access == HttpAccess::kKey && !state.keys.empty() && request.key < 0) {
    throw error_with(HttpError(401, "unauthorized", "This request needs a valid API key."),
                     "WWW-Authenticate", "Bearer");
  }
  check_body(*match.route, head);
  return {match.route, std::nullopt};
}

void call_now(const HttpRoute& route, const std::shared_ptr<const HttpRequest>& request,
              const HttpResponder& responder) {
  try {
    route.handler(request, responder);
  } catch (const HttpError& error) {
    responder.send(error, *request);
  } catch (const std::invalid_argument& error) {
    responder.send(HttpError(400, "invalid_request", error.what()), *request);
  } catch (const std::exception& error) {
    log_error("http id=" + quoted_for_log(request->request_id) +
              " internal error: " + quoted_for_log(error.what(), 1000));
    responder.send(HttpError(500, "internal", "Something went wrong inside."), *request);
  }
}

}  // namespace

void begin_request(HttpRequest& request, const HttpRequestHead& head) {
  request.headers = head.headers;
  request.request_id = choose_request_id(find_header(head.headers, "X-Request-Id"));
  request.traceparent = sound_traceparent(find_header(head.headers, "traceparent"));
}

HttpAdmission admit_request(const HttpServiceState& state, const HttpRequestHead& head,
                            HttpRequest& request) {
  const std::string* const host = find_header(head.headers, "Host");
  if (host != nullptr || !head.is_http_1_0) state.origins.check_host(host ? *host : "");
  request.method = method_of(head.method);
  if (head.target == "*" && request.method == HttpMethod::kOptions) {
    return {nullptr, answer_options(state, request, "GET, HEAD, POST, DELETE")};
  }
  HttpTarget target = parse_http_target(head.target, state.options.limits.max_target_bytes);
  request.path = std::move(target.path);
  request.query = std::move(target.query);
  if (changes_something(request.method)) state.origins.check_origin(head.headers);
  return admit_to_route(state, head, request, target.segments);
}

void call_handler(HttpServiceState& state, const HttpRoute& route,
                  const std::shared_ptr<const HttpRequest>& request,
                  const HttpResponder& responder) {
  if (!route.on_worker) return call_now(route, request, responder);
  const bool is_taken =
      state.workers.submit([&route, request, responder] { call_now(route, request, responder); });
  if (!is_taken) {
    responder.send(
        error_with(HttpError(503, "queue_full", "The server is busy."), "Retry-After", "1"),
        *request);
  }
}

}  // namespace ddpm
