#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "ddpm/serving/http/http_router.h"
#include "ddpm/serving/http/metrics.h"

namespace ddpm {

struct HttpLimits {
  size_t max_head_bytes = 16 << 10;  ///< request line and fields
  size_t max_fields = 100;
  size_t max_target_bytes = 4096;
  size_t max_chunks = 8192;  ///< of a chunked body
  int max_connections = 1024;
  int max_connections_per_address = 256;
  int max_requests_per_connection = 1000;
  int64_t max_bodies_bytes = 32 << 20;  ///< of all requests that are being read or answered
  int max_waiting_handlers = 64;        ///< that a worker has not begun
};

struct HttpTimeouts {
  int64_t head_ms = 10'000;   ///< from a request's first byte (or the connection) to its last field
  int64_t body_ms = 60'000;   ///< from there to the body's end
  int64_t idle_ms = 60'000;   ///< between two requests
  int64_t write_ms = 10'000;  ///< for each 64 KiB of an answer
};

struct HttpServerOptions {
  std::string address = "127.0.0.1";  ///< of an interface; empty: no TCP
  int port = 8080;                    ///< 0: one that is free
  std::string unix_socket = {};       ///< path; empty: none. Only its owner may connect
  std::vector<std::string> keys = {};
  std::vector<std::string> allowed_origins = {};  ///< whose pages may call us (CORS)
  std::vector<std::string> allowed_hosts = {};    ///< names we go by. Empty: local names where
                                                  ///< there is no key, else any
  std::string tls_certificate = {};               ///< PEM files; both or none
  std::string tls_private_key = {};
  int io_threads = 1;
  int worker_threads = 2;
  std::function<void()> at_worker_start = {};  ///< called by each worker thread, first
  HttpLimits limits = {};
  HttpTimeouts timeouts = {};
  std::string page_policy =
      "default-src 'self'; img-src 'self' data: blob:; style-src 'self'; object-src 'none'; "
      "base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
  MetricsRegistry* metrics = nullptr;                       ///< outlives the server; nullptr: own
  std::function<void(const std::string&)> access_log = {};  ///< any thread; empty: core/log.h
};

/// An HTTP/1.1 server that keeps its memory bounded and its other clients served whatever a client
/// does. Handlers run in I/O threads, or in worker threads where the route says so.
class HttpServer {
 public:
  /// @throws std::invalid_argument if the options contradict: another interface than loopback
  ///         without a key, a bad key or origin, TLS that this build lacks, nothing to listen on.
  HttpServer(HttpServerOptions options, HttpRouter router);
  ~HttpServer();  ///< stops
  HttpServer(const HttpServer&) = delete;
  HttpServer& operator=(const HttpServer&) = delete;

  /// @throws std::runtime_error if it can't listen; the message says where and why.
  void start();

  /// The TCP port listened on, also after stop(); 0: none, or not yet. Any thread.
  int port() const;

  /// Any thread.
  int num_connections() const;

  /// Takes no new connection, ends idle ones, and waits until the others are answered or the time
  /// is over; then stops. Not from a handler.
  void drain(std::chrono::milliseconds at_most);

  /// Cuts all connections and ends the threads. Not from a handler.
  void stop();

  /// Whether this build can speak TLS.
  static bool has_tls();

 private:
  struct Parts;
  std::unique_ptr<Parts> parts_;
};

}  // namespace ddpm
