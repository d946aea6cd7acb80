#pragma once

#include <boost/asio/awaitable.hpp>
#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>
#include <functional>
#include <mutex>
#include <set>
#include <thread>

namespace ddpm {

class HttpConnection;

/// One I/O thread and the connections that live in it: they need no locks.
class HttpLoop {
 public:
  HttpLoop();
  ~HttpLoop();  ///< stops
  HttpLoop(const HttpLoop&) = delete;
  HttpLoop& operator=(const HttpLoop&) = delete;

  void start();

  /// Runs `work` in the loop's thread. False once the loop has stopped. Any thread.
  bool post(std::function<void()> work);

  /// Closes all connections and ends the thread; the caller has closed its listeners.
  void stop();

  // In the loop's thread.
  void add(HttpConnection* connection) { connections_.insert(connection); }
  void remove(HttpConnection* connection) { connections_.erase(connection); }
  void for_each(const std::function<void(HttpConnection&)>& visit);

 private:
  void run();
  boost::asio::awaitable<void> watch_deadlines();

  std::set<HttpConnection*> connections_;  // before the context, whose end may remove some

 public:
  boost::asio::io_context context{1};

 private:
  boost::asio::executor_work_guard<boost::asio::io_context::executor_type> work_;
  boost::asio::steady_timer watch_;
  std::thread thread_;
  std::mutex mutex_;
  bool is_stopped_ = false;
};

/// Wakes the one coroutine that waits. In the loop's thread.
class HttpSignal {
 public:
  explicit HttpSignal(HttpLoop& loop) : timer_(loop.context) {}

  void set() { timer_.cancel(); }
  /// False if the time was over first; negative: no limit. Callers look at what they wait for,
  /// before and after.
  boost::asio::awaitable<bool> wait(int64_t at_most_ms = -1);

 private:
  boost::asio::steady_timer timer_;
};

}  // namespace ddpm
