#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

namespace ddpm {

/// Threads for handlers that compute, with a bounded queue.
class HttpWorkers {
 public:
  /// @param at_start called by each thread before its first work.
  HttpWorkers(int num_threads, int max_waiting, std::function<void()> at_start = {});
  ~HttpWorkers();  ///< stops
  HttpWorkers(const HttpWorkers&) = delete;
  HttpWorkers& operator=(const HttpWorkers&) = delete;

  /// False if the queue is full or the threads have ended.
  bool submit(std::function<void()> work);

  /// Drops what waits, waits for what runs.
  void stop();

 private:
  void run();

  const size_t max_waiting_;
  const std::function<void()> at_start_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<std::function<void()>> waiting_;
  bool is_stopped_ = false;
  std::vector<std::thread> threads_;
};

}  // namespace ddpm
