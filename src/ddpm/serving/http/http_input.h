#pragma once

#include <boost/asio/awaitable.hpp>
#include <string>
#include <string_view>

#include "ddpm/serving/http/http_loop.h"
#include "ddpm/serving/http/http_transport.h"

namespace ddpm {

/// What a client has sent and nobody has used yet. A coroutine of its own reads ahead, up to a
/// bound, so that a client that leaves is noticed while its answer is being made.
class HttpInput {
 public:
  HttpInput(HttpLoop& loop, HttpTransport& transport, HttpSignal& wake, size_t max_bytes)
      : transport_(transport), wake_(wake), space_(loop), max_bytes_(max_bytes) {}

  /// Reads until the client ends or the connection is closed; signals `wake` at each change.
  boost::asio::awaitable<void> pump();

  std::string_view bytes() const { return std::string_view(buffer_).substr(begin_); }
  void use(size_t count);

  bool is_full() const { return bytes().size() >= max_bytes_; }
  /// Whether the client sends no more.
  bool is_at_end() const { return is_at_end_; }

  /// From now on what comes is dropped.
  void discard();
  size_t discarded_bytes() const { return discarded_bytes_; }

  /// The connection is closed: pump() ends.
  void close();

 private:
  HttpTransport& transport_;
  HttpSignal& wake_;
  HttpSignal space_;
  const size_t max_bytes_;
  std::string buffer_;
  size_t begin_ = 0;
  bool is_at_end_ = false;
  bool is_closed_ = false;
  bool is_discarding_ = false;
  size_t discarded_bytes_ = 0;
};

}  // namespace ddpm
