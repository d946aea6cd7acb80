#include <algorithm>
#include <atomic>

#include "ddpm/core/log.h"
#include "ddpm/serving/http/http_connection.h"
#include "ddpm/serving/http/http_response_head.h"

namespace ddpm {
namespace {

constexpr size_t kPieceBytes = 64 << 10;

/// An answer that nobody reads: its stream must know.
void abandon(const HttpResponse& response) {
  if (const auto* body = std::get_if<HttpStreamBody>(&response.body)) {
    if (body->stream) body->stream->reader_left();
  }
}

std::string chunk(std::string_view bytes) {
  char size[24];
  std::snprintf(size, sizeof size, "%zx\r\n", bytes.size());
  return size + std::string(bytes) + "\r\n";
}

}  // namespace

boost::asio::awaitable<bool> HttpConnection::write(std::string_view bytes) {
  arm(state_->options.timeouts.write_ms, OnDeadline::kClose);
  const bool is_written = co_await transport_->write(bytes);
  disarm();
  co_return is_written && !is_closed_;
}

void HttpConnection::deliver(uint64_t serial, HttpResponse response) {
  if (serial != serial_ || is_closed_) return abandon(response);
  response_ = std::move(response);
  wake_.set();
}

boost::asio::awaitable<HttpResponse> HttpConnection::answer(const HttpRoute& route, Turn& turn) {
  disarm();
  const uint64_t serial = ++serial_;
  auto exchange = std::make_shared<HttpExchange>(
      [loop = loop_, weak = weak_from_this(), serial](HttpResponse response) {
        const auto shared = std::make_shared<HttpResponse>(std::move(response));
        const bool is_posted = loop->post([weak, serial, shared] {
          const auto self = weak.lock();
          self ? self->deliver(serial, std::move(*shared)) : abandon(*shared);
        });
        if (!is_posted) abandon(*shared);
      });
  const std::weak_ptr<HttpExchange> watched = exchange;
  const std::shared_ptr<const HttpRequest> request(
      turn.request.get(), [held = turn.request, share = turn.body_share](const HttpRequest*) {});
  call_handler(*state_, route, request, HttpResponder(std::move(exchange)));
  bool is_told = false;
  while (!response_ && !is_closed_) {
    if (input_.is_at_end() && !is_told) {
      is_told = true;
      if (const auto waiting = watched.lock()) waiting->client_left();
      continue;
    }
    co_await wake_.wait();
  }
  if (is_closed_ && !is_told) {
    if (const auto waiting = watched.lock()) waiting->client_left();
  }
  HttpResponse response = response_ ? std::move(*response_) : HttpResponse();
  response_.reset();
  ++serial_;  // what comes later is for nobody
  co_return response;
}

HttpPayload HttpConnection::compose(Turn& turn, HttpResponse response, std::string& head) {
  HttpResponseContext context{.request_id = turn.request->request_id,
                              .page_policy = state_->options.page_policy,
                              .cors = state_->origins.cors_fields(turn.request->headers),
                              .is_http_1_0 = turn.head.is_http_1_0};
  const bool ends_by_closing =
      std::holds_alternative<HttpStreamBody>(response.body) && context.is_http_1_0;
  if (ends_by_closing) turn.keep_alive = false;
  context.keep_alive = turn.keep_alive;
  HttpPayload payload;
  try {
    payload = make_payload(*turn.request, response, state_->gzip);
    head = response_head(payload, context);
  } catch (const std::exception& error) {
    abandon(response);
    const auto* const known = dynamic_cast<const HttpError*>(&error);
    if (known == nullptr) log_error("http answer: " + quoted_for_log(error.what(), 1000));
    const HttpError told =
        known != nullptr ? *known : HttpError(500, "internal", "Something went wrong inside.");
    payload = make_payload(*turn.request, error_response(told, context.request_id), state_->gzip);
    head = response_head(payload, context);
  }
  return payload;
}

boost::asio::awaitable<bool> HttpConnection::send(Turn& turn, HttpResponse response) {
  std::string head;
  const HttpPayload payload = compose(turn, std::move(response), head);
  HttpAccessRecord& record = turn.record;
  record.method = turn.head.method;
  record.target = turn.head.target;
  record.route = turn.request->route;
  record.status = payload.status;
  record.request_id = turn.request->request_id;
  record.traceparent = turn.request->traceparent;
  record.key = turn.request->key;
  const bool is_one_piece = payload.bytes && payload.has_body && payload.length <= kPieceBytes / 4;
  if (is_one_piece) head.append(*payload.bytes, payload.first, payload.length);
  bool is_sent = !is_closed_;
  if (is_sent) is_sent = co_await write(head);
  if (payload.stream.stream && (!is_sent || !payload.has_body)) {
    payload.stream.stream->reader_left();
  } else if (is_sent && payload.has_body && !is_one_piece) {
    is_sent = co_await send_body(payload, turn);
  } else if (is_sent && is_one_piece) {
    record.sent_bytes = payload.length;
  }
  if (!is_sent && record.ended.empty()) record.ended = "client_left";
  co_return is_sent;
}

boost::asio::awaitable<bool> HttpConnection::send_body(const HttpPayload& payload, Turn& turn) {
  if (payload.stream.stream) co_return co_await send_stream(payload.stream, turn);
  for (uint64_t done = 0; done < payload.length;) {
    const size_t want = static_cast<size_t>(std::min<uint64_t>(kPieceBytes, payload.length - done));
    std::string read;
    std::string_view piece;
    if (payload.bytes) {
      piece = std::string_view(*payload.bytes).substr(payload.first + done, want);
    } else {
      read = payload.file->read(payload.first + done, want);
      piece = read;
    }
    if (piece.size() != want) co_return false;  // the file shrank: only cutting tells the client
    const bool is_written = co_await write(piece);
    if (!is_written) co_return false;
    done += want;
    turn.record.sent_bytes = done;
  }
  co_return true;
}

/// Wakes this connection when something is written, however often that is: the loop is told once,
/// until it has looked.
void HttpConnection::follow(const std::shared_ptr<HttpStream>& stream) {
  const auto is_told = std::make_shared<std::atomic<bool>>(false);
  stream->attach([loop = loop_, weak = weak_from_this(), watched = std::weak_ptr(stream), is_told] {
    if (is_told->exchange(true)) return;
    loop->post([weak, watched, is_told] {
      *is_told = false;
      const auto self = weak.lock();
      const auto written = watched.lock();
      if (!self || !written) return;
      if (written->is_dropped()) self->close();
      self->wake_.set();
    });
  });
}

boost::asio::awaitable<bool> HttpConnection::send_stream(const HttpStreamBody& body, Turn& turn) {
  HttpStream& stream = *body.stream;
  const bool is_chunked = !turn.head.is_http_1_0;
  follow(body.stream);
  bool goes_on = true;
  while (goes_on && !stream.is_finished()) {
    if (is_closed_ || stream.is_dropped() || input_.is_at_end()) {
      goes_on = false;
      break;
    }
    std::string piece = stream.take(kPieceBytes);
    if (piece.empty()) {
      if (stream.is_finished()) break;
      const bool is_woken = co_await wake_.wait(body.ping_ms);
      if (is_woken || body.ping.empty()) continue;
      piece = body.ping;
    }
    turn.record.sent_bytes += piece.size();
    if (is_chunked) piece = chunk(piece);
    goes_on = co_await write(piece);
  }
  if (goes_on && is_chunked) goes_on = co_await write("0\r\n\r\n");
  if (stream.is_dropped()) {
    state_->dropped_streams.add();
    turn.record.ended = "slow_reader";
  }
  stream.reader_left();
  co_return goes_on;
}

}  // namespace ddpm
