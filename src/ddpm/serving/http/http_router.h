#pragma once

#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "ddpm/serving/http/http_message.h"
#include "ddpm/serving/http/http_responder.h"

namespace ddpm {

/// Who may call a route. There is no default: a route says it.
enum class HttpAccess { kPublic, kKey };

/// Answers at once, in an I/O thread: it must not wait for anything.
using HttpHandler = std::function<HttpResponse(const HttpRequest&)>;

/// Answers through the responder, then or later, from any thread.
using HttpLaterHandler = std::function<void(std::shared_ptr<const HttpRequest>, HttpResponder)>;

struct HttpRoute {
  HttpMethod method;
  std::string pattern;
  HttpAccess access;
  HttpLaterHandler handler = {};
  int64_t max_body_bytes = 0;                 ///< 0: a body is refused
  std::vector<std::string> media_types = {};  ///< of the body; another is refused (415)
  bool on_worker = false;  ///< the handler runs in a worker thread: it may compute for long
};

/// Which routes there are. Patterns: segments are text, {name}, or {name} with text around it;
/// a last {name...} takes the rest of the path:
///
///     /v1/jobs/{id}/images/{index}.png      /gradio_api/file={path...}
///
/// Of several that fit, the one whose first differing segment is more literal wins.
class HttpRouter {
 public:
  static constexpr int64_t kJsonBodyBytes = 64 << 10;
  static constexpr int64_t kUploadBytes = 8 << 20;

  /// For GET, HEAD and DELETE: no body. A GET route answers HEAD too.
  /// @throws std::invalid_argument if the pattern is malformed, or a route has the same places.
  void add(HttpMethod method, const std::string& pattern, HttpAccess access, HttpHandler handler);

  /// Any route; POST routes take JSON unless they say otherwise.
  void add(HttpRoute route);

  /// A POST route whose body is JSON of at most 64 KiB.
  void add_json(const std::string& pattern, HttpAccess access, HttpHandler handler);

  struct Match {
    const HttpRoute* route = nullptr;  ///< nullptr: none for this method
    std::map<std::string, std::string> parameters = {};
    std::string allow = {};  ///< "GET, HEAD": of the routes that fit the path; empty: none does
  };
  /// @param segments of a parsed target (http_target.h).
  Match find(HttpMethod method, const std::vector<std::string>& segments) const;

  const std::vector<HttpRoute>& routes() const { return routes_; }

 private:
  struct Segment {
    std::string before = {}, name = {},
                after = {};  ///< text before and after {name}; no name: all is `before`
    bool takes_rest = false;
  };
  static std::vector<Segment> parse_pattern(const std::string& pattern);
  static bool fits(const std::vector<Segment>& pattern, const std::vector<std::string>& segments,
                   std::map<std::string, std::string>& parameters);
  static std::string rank(const std::vector<Segment>& pattern);

  std::vector<HttpRoute> routes_;
  std::vector<std::vector<Segment>> patterns_;
};

}  // namespace ddpm
