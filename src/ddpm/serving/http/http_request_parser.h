#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "ddpm/serving/http/http_message.h"

namespace ddpm {

struct HttpParserLimits {
  size_t max_head_bytes = 16 << 10;
  size_t max_fields = 100;
  size_t max_chunks = 8192;
};

/// Request line and fields as they came, and what they say about the body.
struct HttpRequestHead {
  std::string method;
  std::string target;
  HttpHeaders headers;
  bool is_http_1_0 = false;
  bool keep_alive = false;
  bool is_chunked = false;
  bool expects_continue = false;
  uint64_t content_length = 0;

  bool has_body() const { return is_chunked || content_length > 0; }
};

/// Where the head ends in `input`, looking from `from` on: the index behind its empty line; 0: not
/// yet. Also finds heads with bare line feeds, which parse_head() refuses.
size_t find_head_end(std::string_view input, size_t from = 0);

/// One HTTP/1 request, given in pieces. Knows no socket. Strict where proxies and servers are known
/// to disagree, because that is how requests are smuggled.
class HttpRequestParser {
 public:
  explicit HttpRequestParser(const HttpParserLimits& limits = {});
  ~HttpRequestParser();
  HttpRequestParser(const HttpRequestParser&) = delete;
  HttpRequestParser& operator=(const HttpRequestParser&) = delete;

  /// @param block the whole head with its empty line.
  /// @throws HttpError 400: malformed, folded fields, bare line ends, Content-Length and
  ///         Transfer-Encoding together or repeated; 415: a Content-Encoding; 417: an Expect other
  ///         than 100-continue; 431: too long or too many fields; 501: a transfer coding other than
  ///         chunked; 505: neither HTTP/1.1 nor 1.0.
  HttpRequestHead parse_head(std::string_view block);

  /// Takes the body's next bytes, and nothing of a request that follows; call it when has_body().
  ///
  /// @param max_bytes of the whole body; the same at each call.
  /// @return how many bytes were used; 0: it needs more at once.
  /// @throws HttpError 400: malformed chunks; 413: too long, or too many chunks.
  size_t put_body(std::string_view bytes, uint64_t max_bytes);

  /// Whether the request is complete.
  bool is_done() const;
  size_t body_bytes() const;
  std::string take_body();

 private:
  struct Parser;
  std::unique_ptr<Parser> parser_;
};

}  // namespace ddpm
