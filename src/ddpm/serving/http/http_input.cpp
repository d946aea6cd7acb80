#include "ddpm/serving/http/http_input.h"

#include <array>

namespace ddpm {

boost::asio::awaitable<void> HttpInput::pump() {
  std::array<char, 4096> piece;
  while (!is_closed_) {
    if (!is_discarding_ && is_full()) {
      co_await space_.wait();
      continue;
    }
    const size_t count = co_await transport_.read_some(boost::asio::buffer(piece));
    if (count == 0) break;
    if (is_discarding_) {
      discarded_bytes_ += count;
    } else {
      buffer_.append(piece.data(), count);
    }
    wake_.set();
  }
  is_at_end_ = true;
  wake_.set();
}

void HttpInput::use(size_t count) {
  begin_ += count;
  if (begin_ == buffer_.size()) {
    std::string().swap(buffer_);
    begin_ = 0;
  } else if (begin_ >= max_bytes_) {
    buffer_.erase(0, begin_);
    begin_ = 0;
  }
  space_.set();
}

void HttpInput::discard() {
  is_discarding_ = true;
  use(bytes().size());
}

void HttpInput::close() {
  is_closed_ = true;
  space_.set();
}

}  // namespace ddpm
