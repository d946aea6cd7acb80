#include "ddpm/serving/http/http_connection.h"

#include <boost/asio/co_spawn.hpp>

#include "ddpm/core/log.h"

namespace ddpm {
namespace {

constexpr size_t kReadAheadBytes = 4096;  // beyond a head of the longest kind
constexpr int64_t kLingerMs = 1000;
constexpr int64_t kFirstRequestMs = 500;  // while draining
constexpr size_t kLingerBytes = 1 << 20;

/// A coroutine's end: an exception here is a bug, but not one to die of.
void report_end(const std::exception_ptr& error) {
  if (!error) return;
  try {
    std::rethrow_exception(error);
  } catch (const std::exception& thrown) {
    log_error("http connection: " + quoted_for_log(thrown.what(), 1000));
  }
}

double seconds_since(std::chrono::steady_clock::time_point began) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - began).count();
}

}  // namespace

HttpConnection::HttpConnection(std::shared_ptr<HttpLoop> loop,
                               std::shared_ptr<HttpServiceState> state,
                               std::unique_ptr<HttpTransport> transport, std::string address)
    : loop_(std::move(loop)),
      state_(std::move(state)),
      transport_(std::move(transport)),
      address_(std::move(address)),
      wake_(*loop_),
      input_(*loop_, *transport_, wake_, state_->options.limits.max_head_bytes + kReadAheadBytes) {
  state_->open_connections.add(1);
}

HttpConnection::~HttpConnection() {
  if (is_registered_) loop_->remove(this);
  state_->connections.leave(address_);
  state_->open_connections.add(-1);
}

void HttpConnection::start() {
  loop_->add(this);
  is_registered_ = true;
  boost::asio::co_spawn(
      loop_->context, [self = shared_from_this()] { return self->serve(); }, report_end);
}

void HttpConnection::close() {
  if (is_closed_) return;
  is_closed_ = true;
  disarm();
  transport_->close();
  input_.close();
  wake_.set();
}

void HttpConnection::drain() {
  if (!is_idle_) return;
  if (num_requests_ > 0) return close();
  arm(kFirstRequestMs, OnDeadline::kWake);  // a new client's request may be on its way
}

void HttpConnection::arm(int64_t timeout_ms, OnDeadline action) {
  is_late_ = false;
  on_deadline_ = action;
  deadline_ = std::chrono::steady_clock::now() + std::chrono::milliseconds(timeout_ms);
}

void HttpConnection::check_deadline(std::chrono::steady_clock::time_point now) {
  if (now < deadline_) return;
  disarm();
  if (on_deadline_ == OnDeadline::kClose) return close();
  is_late_ = true;
  wake_.set();
}

boost::asio::awaitable<void> HttpConnection::serve() {
  const auto self = shared_from_this();
  arm(state_->options.timeouts.head_ms, OnDeadline::kClose);
  const bool has_begun = co_await transport_->begin();
  if (has_begun && !is_closed_) {
    boost::asio::co_spawn(
        loop_->context, [self] { return self->input_.pump(); },
        [self](const std::exception_ptr& error) { report_end(error); });
    bool goes_on = true;
    while (goes_on && !is_closed_) goes_on = co_await serve_turn();
    if (!is_closed_) co_await linger();
  }
  close();
}

boost::asio::awaitable<bool> HttpConnection::serve_turn() {
  Turn turn;
  HttpRequestParser parser({state_->options.limits.max_head_bytes,
                            state_->options.limits.max_fields, state_->options.limits.max_chunks});
  std::optional<HttpResponse> response;
  const HttpRoute* route = nullptr;
  try {
    const bool has_come = co_await read_head(parser, turn);
    if (!has_come) co_return false;
    HttpAdmission admission = admit_request(*state_, turn.head, *turn.request);
    route = admission.route;
    response = std::move(admission.answer);
    turn.has_whole_body = !turn.head.has_body();
    if (route != nullptr && turn.head.has_body()) {
      co_await read_body(parser, turn, static_cast<uint64_t>(route->max_body_bytes));
    }
  } catch (const HttpError& error) {
    if (!turn.has_head) begin_request(*turn.request, {});
    turn.has_whole_body = turn.has_head && !turn.head.has_body();
    response = error_response(error, turn.request->request_id);
  }
  if (is_closed_) co_return false;
  if (!response) response = co_await answer(*route, turn);
  turn.keep_alive = turn.head.keep_alive && turn.has_whole_body && !state_->is_draining &&
                    ++num_requests_ < state_->options.limits.max_requests_per_connection;
  const bool is_sent = co_await send(turn, std::move(*response));
  turn.record.seconds = seconds_since(turn.began);
  state_->record(turn.record);
  co_return is_sent&& turn.keep_alive;
}

/// Lets the client read the last answer: closing with unread input would reset the connection.
boost::asio::awaitable<void> HttpConnection::linger() {
  arm(kLingerMs, OnDeadline::kClose);
  input_.discard();
  co_await transport_->end();
  while (!is_closed_ && !input_.is_at_end() && input_.discarded_bytes() < kLingerBytes) {
    co_await wake_.wait();
  }
}

}  // namespace ddpm
