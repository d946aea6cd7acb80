#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace ddpm {

/// The body of a response that goes on: other threads write, the connection sends. Never blocks and
/// never grows beyond its bound: a reader who lets the queue fill up is dropped, because it can
/// come again and resume, and everyone else can't wait for it. Safe in any thread.
class HttpStream {
 public:
  explicit HttpStream(size_t max_queued_bytes = 256 << 10) : max_bytes_(max_queued_bytes) {}

  /// Queues bytes. False if the stream is over; the reader is dropped if the queue is full.
  bool write(std::string piece) { return write_latest({}, std::move(piece)); }

  /// Like write(), and takes out a queued piece with the same `slot` that is not yet sent: for
  /// progress, of which only the newest counts.
  bool write_latest(const std::string& slot, std::string piece);

  /// Ends the response after what is queued.
  void close();

  /// Whether writing has a point: not closed, and the reader is there.
  bool is_open() const;

  /// Bytes that wait to be sent: a writer may leave out what is not worth being dropped for.
  size_t queued_bytes() const;

  /// Calls back once when the reader is gone before close(): at once if it is, else in an I/O
  /// thread, which must not be kept waiting.
  void on_gone(std::function<void()> callback);

  // The connection's side.

  /// @param notify called in any thread when there is something to do.
  void attach(std::function<void()> notify);
  /// Everything queued, at most about `max_bytes` (at least one piece); empty: nothing is there.
  std::string take(size_t max_bytes);
  /// Whether all is sent and nothing comes any more.
  bool is_finished() const;
  /// Whether the queue was full: the connection is to be cut.
  bool is_dropped() const;
  void reader_left();

 private:
  struct Piece {
    std::string slot;
    std::string bytes;
  };
  std::optional<std::function<void()>> put(const std::string& slot, std::string piece);

  const size_t max_bytes_;
  mutable std::mutex mutex_;
  std::deque<Piece> queue_;
  size_t queued_bytes_ = 0;
  bool is_closed_ = false;
  bool is_dropped_ = false;
  bool is_gone_ = false;
  std::function<void()> notify_;
  std::vector<std::function<void()>> on_gone_;
};

/// One server-sent event: "id: 3\nevent: progress\ndata: {...}\n\n". Empty `id` and `event` are
/// left out; a data line a line of `data`.
/// @throws std::invalid_argument if `id` or `event` has a line end.
std::string sse_event(std::string_view event, std::string_view data, std::string_view id = {});

}  // namespace ddpm
