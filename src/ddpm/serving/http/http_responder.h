#pragma once

#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "ddpm/serving/http/http_message.h"

namespace ddpm {

/// What responder and connection share about one request. Safe in any thread.
class HttpExchange {
 public:
  /// @param deliver takes the one answer, in the thread that gives it.
  explicit HttpExchange(std::function<void(HttpResponse)> deliver) : deliver_(std::move(deliver)) {}

  /// Gives the answer "internal" (500) if nobody answered.
  ~HttpExchange();
  HttpExchange(const HttpExchange&) = delete;
  HttpExchange& operator=(const HttpExchange&) = delete;

  void send(HttpResponse response);
  void client_left();
  bool is_gone() const;
  void on_gone(std::function<void()> callback);

 private:
  mutable std::mutex mutex_;
  std::function<void(HttpResponse)> deliver_;  ///< empty: answered
  std::vector<std::function<void()>> on_gone_;
  bool is_gone_ = false;
};

/// Answers one request, once, from any thread. Copies are the same responder; when the last one
/// goes without an answer, the client gets "internal" (500).
class HttpResponder {
 public:
  explicit HttpResponder(std::shared_ptr<HttpExchange> exchange) : exchange_(std::move(exchange)) {}

  /// The first answer counts, later ones are dropped.
  void send(HttpResponse response) const { exchange_->send(std::move(response)); }
  void send(const HttpError& error, const HttpRequest& request) const {
    exchange_->send(error_response(error, request.request_id));
  }

  /// Whether the client closed the connection, so that nobody reads the answer.
  bool is_gone() const { return exchange_->is_gone(); }

  /// Calls back once when the client leaves before the answer: at once if it has left, else in an
  /// I/O thread, which must not be kept waiting.
  void on_gone(std::function<void()> callback) const { exchange_->on_gone(std::move(callback)); }

 private:
  std::shared_ptr<HttpExchange> exchange_;
};

}  // namespace ddpm
