#pragma once

#include <gtest/gtest.h>

#include <atomic>
#include <fstream>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "ddpm/serving/http/http_server.h"
#include "ddpm/serving/http/http_stream.h"
#include "serving/raw_client.h"

namespace ddpm {

inline const std::string kTestKey = "test-key-0123456789";

inline std::string get_text(const std::string& target, const std::string& fields = {}) {
  return "GET " + target + " HTTP/1.1\r\nHost: localhost\r\n" + fields + "\r\n";
}

inline std::string post_text(const std::string& target, const std::string& body,
                             const std::string& fields = {}) {
  return "POST " + target + " HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n" +
         "Content-Length: " + std::to_string(body.size()) + "\r\n" + fields + "\r\n" + body;
}

/// Waits until `fact` holds; false after `patience_ms`.
template <typename Fact>
bool eventually(const Fact& fact, int patience_ms = 5000) {
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::milliseconds(patience_ms);
  while (!fact()) {
    if (std::chrono::steady_clock::now() > deadline) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  return true;
}

/// Resident memory of this process, server and clients together.
inline int64_t resident_kib() {
  std::ifstream file("/proc/self/status");
  for (std::string line; std::getline(file, line);) {
    if (line.starts_with("VmRSS:")) return std::stoll(line.substr(6));
  }
  return 0;
}

/// A server on a free port with routes that do what tests need, and short timeouts.
class HttpTestServer {
 public:
  explicit HttpTestServer(HttpServerOptions options = {}, bool has_big_files = false) {
    options.port = 0;
    options.metrics = &metrics;
    options.access_log = [this](const std::string& line) {
      const std::lock_guard lock(mutex_);
      lines_.push_back(line);
    };
    server = std::make_unique<HttpServer>(std::move(options), routes(has_big_files));
    server->start();
  }
  ~HttpTestServer() { server->stop(); }

  int port() const { return server->port(); }
  RawResponse ask(const std::string& request, bool has_body = true) const {
    return RawClient(port()).ask(request, has_body);
  }
  std::string log() const {
    const std::lock_guard lock(mutex_);
    std::string all;
    for (const auto& line : lines_) all += line + "\n";
    return all;
  }
  std::shared_ptr<HttpStream> last_stream() const {
    const std::lock_guard lock(mutex_);
    return stream_;
  }
  void forget_responders() {
    const std::lock_guard lock(mutex_);
    responders_.clear();
  }
  void answer_responders() {
    const std::lock_guard lock(mutex_);
    for (const auto& responder : responders_) responder.send(json_response(200, "\"late\""));
    responders_.clear();
  }
  size_t num_responders() const {
    const std::lock_guard lock(mutex_);
    return responders_.size();
  }

  MetricsRegistry metrics;
  std::unique_ptr<HttpServer> server;
  std::atomic<int> num_gone = 0;     ///< clients that left before the end of their answer
  std::atomic<int> num_handled = 0;  ///< requests to /count

 private:
  static HttpResponse text_response(std::string text, const std::string& etag = {}) {
    HttpResponse response;
    response.body = std::move(text);
    response.media_type = "text/plain";
    response.etag = etag;
    return response;
  }

  HttpRouter routes(bool has_big_files) {
    HttpRouter router;
    const auto get = [&](const std::string& pattern, HttpHandler handler) {
      router.add(HttpMethod::kGet, pattern, HttpAccess::kPublic, std::move(handler));
    };
    get("/hello", [](const HttpRequest&) { return text_response("hello", "\"hello\""); });
    get("/page", [](const HttpRequest&) {
      HttpResponse page = text_response(std::string(5000, 'p'), "\"page\"");
      page.media_type = "text/html; charset=utf-8";
      return page;
    });
    get("/echo/{name}", [](const HttpRequest& request) {
      const auto query = request.query.find("q");
      return text_response(request.parameters.at("name") + "|" +
                           (query == request.query.end() ? "" : query->second) + "|" +
                           request.remote_address + "|" + request.traceparent);
    });
    get("/count",
        [this](const HttpRequest&) { return text_response(std::to_string(++num_handled)); });
    get("/throw/{what}", [](const HttpRequest& request) -> HttpResponse {
      const std::string& what = request.parameters.at("what");
      if (what == "http") throw HttpError(422, "invalid_request", "no", "a.b");
      if (what == "argument") throw std::invalid_argument("[f] a: expected b, got c");
      if (what == "field") return {.headers = {{"A", "b\r\nC: d"}}, .body = "x"};
      throw std::runtime_error("/secret/path");
    });
    get("/missing", [](const HttpRequest&) {
      return HttpResponse{.body = HttpFile{"/nowhere/at/all"}, .media_type = "image/png"};
    });
    if (has_big_files) {
      const auto big = std::make_shared<const std::string>(4 << 20, 'b');
      get("/big", [big](const HttpRequest&) {
        return HttpResponse{.body = big, .media_type = "image/png", .etag = "\"big\""};
      });
      const std::string path = testing::TempDir() + "/http_big_file";
      std::ofstream(path) << *big;
      get("/file", [path](const HttpRequest&) {
        return HttpResponse{.body = HttpFile{path}, .media_type = "image/png", .etag = "\"f\""};
      });
    }
    router.add(HttpMethod::kGet, "/secret", HttpAccess::kKey,
               [](const HttpRequest&) { return text_response("secret"); });
    router.add_json("/json", HttpAccess::kKey,
                    [](const HttpRequest& request) { return text_response(request.body); });
    router.add(
        {.method = HttpMethod::kPost,
         .pattern = "/upload",
         .access = HttpAccess::kKey,
         .handler =
             [](const std::shared_ptr<const HttpRequest>& request, const HttpResponder& responder) {
               responder.send(text_response(std::to_string(request->body.size())));
             },
         .max_body_bytes = HttpRouter::kUploadBytes,
         .media_types = {"application/octet-stream", "multipart/form-data"},
         .on_worker = true});
    add_late_routes(router);
    return router;
  }

  void add_late_routes(HttpRouter& router) {
    router.add({.method = HttpMethod::kGet,
                .pattern = "/later",
                .access = HttpAccess::kPublic,
                .handler = [this](const std::shared_ptr<const HttpRequest>&,
                                  const HttpResponder& responder) {
                  responder.on_gone([this] { ++num_gone; });
                  const std::lock_guard lock(mutex_);
                  responders_.push_back(responder);
                }});
    router.add({.method = HttpMethod::kGet,
                .pattern = "/worker",
                .access = HttpAccess::kPublic,
                .handler =
                    [](const std::shared_ptr<const HttpRequest>&, const HttpResponder& responder) {
                      std::this_thread::sleep_for(std::chrono::milliseconds(50));
                      responder.send(text_response("worked"));
                    },
                .on_worker = true});
    router.add(HttpMethod::kGet, "/stream", HttpAccess::kPublic, [this](const HttpRequest&) {
      auto stream = std::make_shared<HttpStream>(std::size_t{64} << 10);
      stream->on_gone([this] { ++num_gone; });
      {
        const std::lock_guard lock(mutex_);
        stream_ = stream;
      }
      return HttpResponse{
          .body = HttpStreamBody{.stream = stream, .ping = ": ping\n\n", .ping_ms = 100},
          .media_type = "text/event-stream"};
    });
  }

  mutable std::mutex mutex_;
  std::vector<std::string> lines_;
  std::vector<HttpResponder> responders_;
  std::shared_ptr<HttpStream> stream_;
};

}  // namespace ddpm
