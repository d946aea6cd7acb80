#include "ddpm/serving/http/http_workers.h"

#include <utility>

#include "ddpm/serving/http/http_signals.h"

namespace ddpm {

HttpWorkers::HttpWorkers(int num_threads, int max_waiting, std::function<void()> at_start)
    : max_waiting_(static_cast<size_t>(max_waiting)), at_start_(std::move(at_start)) {
  const BlockedSignals blocked;
  for (int i = 0; i < num_threads; ++i) threads_.emplace_back([this] { run(); });
}

HttpWorkers::~HttpWorkers() { stop(); }

bool HttpWorkers::submit(std::function<void()> work) {
  {
    const std::lock_guard lock(mutex_);
    if (is_stopped_ || threads_.empty() || waiting_.size() >= max_waiting_) return false;
    waiting_.push_back(std::move(work));
  }
  changed_.notify_one();
  return true;
}

void HttpWorkers::stop() {
  std::deque<std::function<void()>> dropped;  // goes after the lock: it may answer requests
  {
    const std::lock_guard lock(mutex_);
    is_stopped_ = true;
    dropped.swap(waiting_);
  }
  changed_.notify_all();
  for (std::thread& thread : threads_) {
    if (thread.joinable()) thread.join();
  }
}

void HttpWorkers::run() {
  if (at_start_) at_start_();
  for (;;) {
    std::function<void()> work;
    {
      std::unique_lock lock(mutex_);
      changed_.wait(lock, [this] { return is_stopped_ || !waiting_.empty(); });
      if (is_stopped_) return;
      work = std::move(waiting_.front());
      waiting_.pop_front();
    }
    work();
  }
}

}  // namespace ddpm
