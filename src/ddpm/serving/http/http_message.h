#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

namespace ddpm {

class HttpStream;

enum class HttpMethod { kGet, kHead, kPost, kPut, kPatch, kDelete, kOptions, kTrace, kQuery };

/// "GET"
std::string_view http_method_name(HttpMethod method);

/// "Not Found"; "" for a status that this server doesn't give.
std::string_view http_reason(int status);

/// Fields in the order given; names may repeat.
using HttpHeaders = std::vector<std::pair<std::string, std::string>>;

/// The first value of a field, its name in any case; nullptr if absent.
const std::string* find_header(const HttpHeaders& headers, std::string_view name);

/// Whether two ASCII texts are equal in any case.
bool equal_ignoring_case(std::string_view a, std::string_view b);

/// What a handler is told. Text is as the client sent it, except path, query and parameters, which
/// are decoded, valid UTF-8 and free of control characters.
struct HttpRequest {
  HttpMethod method = HttpMethod::kGet;
  std::string path;                               ///< "/v1/jobs/abc", starts with '/'
  std::map<std::string, std::string> query;       ///< a name given twice is refused (400)
  std::map<std::string, std::string> parameters;  ///< the {name}s of the route's pattern
  HttpHeaders headers;
  std::string body;
  std::string remote_address;  ///< "127.0.0.1", or "unix"
  std::string request_id;      ///< the client's X-Request-Id if it is sound, else drawn
  std::string traceparent;     ///< W3C trace context if it is sound, else empty
  std::string route;           ///< the route's pattern: safe as a metric's label
  int key = -1;                ///< which key was shown; -1: none
};

/// Bytes that a cache or a store holds too.
using SharedBytes = std::shared_ptr<const std::string>;

/// A file of ours, sent piece by piece. Never a path that a client gave.
struct HttpFile {
  std::filesystem::path path;
};

/// A body without an end yet: other threads write to it (http_stream.h).
struct HttpStreamBody {
  std::shared_ptr<HttpStream> stream;
  std::string ping = {};  ///< sent when nothing else was for ping_ms
  int64_t ping_ms = 15'000;
};

/// What a handler answers. Content-Length, Date, ETag's answers (304, 206, 416), compression and
/// security fields are the server's work.
struct HttpResponse {
  int status = 200;
  HttpHeaders headers = {};
  std::variant<std::string, SharedBytes, HttpFile, HttpStreamBody> body = {};
  std::string media_type = {};  ///< "image/png"; a body that isn't empty has one
  std::string etag = {};        ///< with quotes: "\"abc\""; makes If-None-Match and Range work
  SharedBytes gzip = {};        ///< the body, compressed already; else the server does it
};

/// An answer that is an error, thrown by handlers and by parsers of what clients send. The message
/// is one sentence for the client: no path, no internal name.
class HttpError : public std::runtime_error {
 public:
  HttpError(int error_status, std::string error_code, const std::string& message,
            std::string field_name = {})
      : std::runtime_error(message),
        status(error_status),
        code(std::move(error_code)),
        field(std::move(field_name)) {}

  int status;
  std::string code;          ///< "invalid_request"
  std::string field;         ///< "sampler.steps", or empty
  HttpHeaders headers = {};  ///< such as Retry-After
};

/// {"error":{"code","message","field","request_id"}}
HttpResponse error_response(const HttpError& error, std::string_view request_id);

HttpResponse json_response(int status, std::string json);

}  // namespace ddpm
