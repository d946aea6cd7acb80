#include "ddpm/serving/http/http_stream.h"

#include <algorithm>
#include <stdexcept>
#include <utility>

namespace ddpm {

bool HttpStream::write_latest(const std::string& slot, std::string piece) {
  const auto notify = put(slot, std::move(piece));
  if (!notify) return false;
  if (*notify) (*notify)();
  return true;
}

std::optional<std::function<void()>> HttpStream::put(const std::string& slot, std::string piece) {
  const std::lock_guard lock(mutex_);
  if (is_closed_ || is_dropped_ || is_gone_) return std::nullopt;
  if (!slot.empty()) {
    const auto old = std::find_if(queue_.begin(), queue_.end(),
                                  [&](const Piece& queued) { return queued.slot == slot; });
    if (old != queue_.end()) {
      queued_bytes_ -= old->bytes.size();
      queue_.erase(old);
    }
  }
  if (queued_bytes_ + piece.size() > max_bytes_) {
    is_dropped_ = true;
    queue_.clear();
    queued_bytes_ = 0;
  } else {
    queued_bytes_ += piece.size();
    queue_.push_back({slot, std::move(piece)});
  }
  return notify_;
}

void HttpStream::close() {
  std::function<void()> notify;
  {
    const std::lock_guard lock(mutex_);
    if (is_closed_) return;
    is_closed_ = true;
    on_gone_.clear();
    notify = notify_;
  }
  if (notify) notify();
}

bool HttpStream::is_open() const {
  const std::lock_guard lock(mutex_);
  return !is_closed_ && !is_dropped_ && !is_gone_;
}

size_t HttpStream::queued_bytes() const {
  const std::lock_guard lock(mutex_);
  return queued_bytes_;
}

void HttpStream::on_gone(std::function<void()> callback) {
  {
    const std::lock_guard lock(mutex_);
    if (!is_gone_) {
      if (!is_closed_) on_gone_.push_back(std::move(callback));
      return;
    }
  }
  callback();
}

void HttpStream::attach(std::function<void()> notify) {
  const std::lock_guard lock(mutex_);
  notify_ = std::move(notify);
}

std::string HttpStream::take(size_t max_bytes) {
  const std::lock_guard lock(mutex_);
  std::string taken;
  while (!queue_.empty() &&
         (taken.empty() || taken.size() + queue_.front().bytes.size() <= max_bytes)) {
    if (taken.empty()) {
      taken = std::move(queue_.front().bytes);
    } else {
      taken += queue_.front().bytes;
    }
    queue_.pop_front();
  }
  queued_bytes_ -= taken.size();
  return taken;
}

bool HttpStream::is_finished() const {
  const std::lock_guard lock(mutex_);
  return is_closed_ && queue_.empty() && !is_dropped_;
}

bool HttpStream::is_dropped() const {
  const std::lock_guard lock(mutex_);
  return is_dropped_;
}

void HttpStream::reader_left() {
  std::vector<std::function<void()>> callbacks;
  {
    const std::lock_guard lock(mutex_);
    is_gone_ = true;
    notify_ = nullptr;
    queue_.clear();
    queued_bytes_ = 0;
    callbacks = std::exchange(on_gone_, {});
  }
  for (const auto& callback : callbacks) callback();
}

std::string sse_event(std::string_view event, std::string_view data, std::string_view id) {
  constexpr std::string_view kLineEnds = "\r\n";
  if (event.find_first_of(kLineEnds) != event.npos || id.find_first_of(kLineEnds) != id.npos) {
    throw std::invalid_argument("[sse_event] event and id: expected no line end");
  }
  std::string text;
  if (!id.empty()) text.append("id: ").append(id).append("\n");
  if (!event.empty()) text.append("event: ").append(event).append("\n");
  for (;;) {
    const size_t end = std::min(data.find('\n'), data.size());
    std::string_view line = data.substr(0, end);
    if (line.ends_with('\r')) line.remove_suffix(1);
    text.append("data: ").append(line).append("\n");
    if (end == data.size()) break;
    data.remove_prefix(end + 1);
  }
  return text + "\n";
}

}  // namespace ddpm
