#pragma once

#include <boost/asio/awaitable.hpp>
#include <chrono>
#include <memory>
#include <optional>
#include <string>

#include "ddpm/serving/http/http_admission.h"
#include "ddpm/serving/http/http_input.h"
#include "ddpm/serving/http/http_loop.h"
#include "ddpm/serving/http/http_payload.h"
#include "ddpm/serving/http/http_request_parser.h"
#include "ddpm/serving/http/http_service_state.h"
#include "ddpm/serving/http/http_stream.h"
#include "ddpm/serving/http/http_transport.h"

namespace ddpm {

/// One client's connection: its requests are read and answered one after another. Lives in its
/// loop's thread.
class HttpConnection : public std::enable_shared_from_this<HttpConnection> {
 public:
  /// `address` has been entered in the state's connection count, and is taken out at the end.
  HttpConnection(std::shared_ptr<HttpLoop> loop, std::shared_ptr<HttpServiceState> state,
                 std::unique_ptr<HttpTransport> transport, std::string address);
  ~HttpConnection();
  HttpConnection(const HttpConnection&) = delete;
  HttpConnection& operator=(const HttpConnection&) = delete;

  void start();
  void close();
  /// Ends if no request is being read or answered.
  void drain();
  void check_deadline(std::chrono::steady_clock::time_point now);

 private:
  /// What one request needs until its answer is sent.
  struct Turn {
    std::shared_ptr<HttpRequest> request = std::make_shared<HttpRequest>();
    std::shared_ptr<HttpBudgetShare> body_share;
    HttpRequestHead head;
    bool has_head = false;
    bool has_whole_body = false;
    bool keep_alive = false;
    HttpAccessRecord record;
    std::chrono::steady_clock::time_point began;
  };

  boost::asio::awaitable<void> serve();
  boost::asio::awaitable<bool> serve_turn();
  boost::asio::awaitable<void> linger();

  // Reading: http_connection_read.cpp. Errors are HttpError.
  boost::asio::awaitable<bool> read_head(HttpRequestParser& parser, Turn& turn);
  boost::asio::awaitable<void> read_body(HttpRequestParser& parser, Turn& turn, uint64_t max_bytes);
  boost::asio::awaitable<size_t> wait_for_head();
  bool skip_empty_lines();
  boost::asio::awaitable<void> wait_for_input(const char* what);

  // Answering: http_connection_write.cpp.
  boost::asio::awaitable<HttpResponse> answer(const HttpRoute& route, Turn& turn);
  void deliver(uint64_t serial, HttpResponse response);
  boost::asio::awaitable<bool> send(Turn& turn, HttpResponse response);
  boost::asio::awaitable<bool> send_body(const HttpPayload& payload, Turn& turn);
  boost::asio::awaitable<bool> send_stream(const HttpStreamBody& body, Turn& turn);
  void follow(const std::shared_ptr<HttpStream>& stream);
  boost::asio::awaitable<bool> write(std::string_view bytes);
  HttpPayload compose(Turn& turn, HttpResponse response, std::string& head);

  /// What happens when the time is over: the waiting coroutine is woken (is_late_), or, while it is
  /// writing, the connection is closed.
  enum class OnDeadline { kWake, kClose };
  void arm(int64_t timeout_ms, OnDeadline action);
  void disarm() { deadline_ = std::chrono::steady_clock::time_point::max(); }

  std::shared_ptr<HttpLoop> loop_;
  std::shared_ptr<HttpServiceState> state_;
  std::unique_ptr<HttpTransport> transport_;
  const std::string address_;
  HttpSignal wake_;
  HttpInput input_;
  std::chrono::steady_clock::time_point deadline_ = std::chrono::steady_clock::time_point::max();
  OnDeadline on_deadline_ = OnDeadline::kWake;
  bool is_registered_ = false;
  bool is_late_ = false;
  bool is_closed_ = false;
  bool is_idle_ = false;  ///< waits for a request of which nothing has come
  int num_requests_ = 0;
  uint64_t serial_ = 0;  ///< of the request that is being answered
  std::optional<HttpResponse> response_;
};

}  // namespace ddpm
