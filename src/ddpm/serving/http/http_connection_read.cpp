#include "ddpm/serving/http/http_connection.h"

namespace ddpm {
namespace {

constexpr int64_t kBodyShareStep = 64 << 10;

[[noreturn]] void refuse_long_head(std::string_view begin) {
  if (begin.find('\n') == begin.npos) {
    throw HttpError(414, "too_large", "The request line is too long.");
  }
  throw HttpError(431, "too_large", "The request's fields are too long.");
}

[[noreturn]] void refuse_for_now() {
  HttpError error(503, "queue_full", "The server is reading too many bodies.");
  error.headers = {{"Retry-After", "1"}};
  throw error;
}

}  // namespace

/// Waits until more has come. @throws HttpError 408 if the time is over, 400 if the client ended.
boost::asio::awaitable<void> HttpConnection::wait_for_input(const char* what) {
  const size_t had = input_.bytes().size();
  while (!is_closed_ && input_.bytes().size() == had) {
    if (is_late_) throw HttpError(408, "timeout", std::string("The ") + what + " came too slowly.");
    if (input_.is_at_end()) {
      throw HttpError(400, "invalid_request", std::string("The ") + what + " is incomplete.");
    }
    co_await wake_.wait();
  }
}

/// Some clients send an empty line after a body. False if more of them came than two.
bool HttpConnection::skip_empty_lines() {
  for (int i = 0; i < 2 && input_.bytes().starts_with("\r\n"); ++i) input_.use(2);
  return !input_.bytes().starts_with("\r\n");
}

/// The head's length; 0: the client left, or was silent for too long, between requests.
boost::asio::awaitable<size_t> HttpConnection::wait_for_head() {
  const auto& timeouts = state_->options.timeouts;
  const size_t max_bytes = state_->options.limits.max_head_bytes;
  is_idle_ = true;
  arm(num_requests_ == 0 ? timeouts.head_ms : timeouts.idle_ms, OnDeadline::kWake);
  while (input_.bytes().empty()) {
    const bool is_over =
        is_late_ || is_closed_ || input_.is_at_end() || (state_->is_draining && num_requests_ > 0);
    if (is_over) co_return 0;
    co_await wake_.wait();
  }
  is_idle_ = false;
  arm(timeouts.head_ms, OnDeadline::kWake);
  size_t searched = 0;
  for (;;) {
    if (!skip_empty_lines()) throw HttpError(400, "invalid_request", "Expected a request line.");
    const size_t end = find_head_end(input_.bytes(), searched > 3 ? searched - 3 : 0);
    if (end > max_bytes) refuse_long_head(input_.bytes().substr(0, max_bytes));
    if (end > 0) co_return end;
    searched = input_.bytes().size();
    if (searched > max_bytes) refuse_long_head(input_.bytes());
    co_await wait_for_input("request's head");
    if (is_closed_) co_return 0;
  }
}

boost::asio::awaitable<bool> HttpConnection::read_head(HttpRequestParser& parser, Turn& turn) {
  turn.request->remote_address = address_;
  turn.record.remote_address = address_;
  turn.began = std::chrono::steady_clock::now();
  const size_t size = co_await wait_for_head();
  if (size == 0) co_return false;
  turn.began = std::chrono::steady_clock::now();
  turn.head = parser.parse_head(input_.bytes().substr(0, size));
  turn.has_head = true;
  input_.use(size);
  begin_request(*turn.request, turn.head);
  co_return true;
}

boost::asio::awaitable<void> HttpConnection::read_body(HttpRequestParser& parser, Turn& turn,
                                                       uint64_t max_bytes) {
  if (turn.head.expects_continue && input_.bytes().empty()) {
    const bool is_sent = co_await write("HTTP/1.1 100 Continue\r\n\r\n");
    if (!is_sent) co_return;
  }
  arm(state_->options.timeouts.body_ms, OnDeadline::kWake);
  turn.body_share = std::make_shared<HttpBudgetShare>(state_->body_bytes);
  while (!parser.is_done()) {
    const size_t used = input_.bytes().empty() ? 0 : parser.put_body(input_.bytes(), max_bytes);
    input_.use(used);
    const auto size = static_cast<int64_t>(parser.body_bytes());
    if (!turn.body_share->grow_to((size / kBodyShareStep + 1) * kBodyShareStep)) {
      refuse_for_now();
    }
    if (used > 0 || parser.is_done()) continue;
    if (input_.is_full()) throw HttpError(400, "invalid_request", "A chunk is malformed.");
    co_await wait_for_input("body");
    if (is_closed_) co_return;
  }
  turn.request->body = parser.take_body();
  turn.has_whole_body = true;
}

}  // namespace ddpm
