#include "ddpm/serving/http/http_loop.h"

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <vector>

#include "ddpm/core/log.h"
#include "ddpm/serving/http/http_access_log.h"
#include "ddpm/serving/http/http_connection.h"
#include "ddpm/serving/http/http_signals.h"

namespace ddpm {
namespace {

constexpr std::chrono::milliseconds kWatchInterval{100};

}  // namespace

HttpLoop::HttpLoop() : work_(context.get_executor()), watch_(context) {}

HttpLoop::~HttpLoop() { stop(); }

void HttpLoop::start() {
  boost::asio::co_spawn(context, watch_deadlines(), boost::asio::detached);
  const BlockedSignals blocked;
  thread_ = std::thread([this] { run(); });
}

void HttpLoop::run() {
  for (;;) {
    try {
      context.run();
      return;
    } catch (const std::exception& error) {
      log_error("http loop: " + quoted_for_log(error.what(), 1000));
    }
  }
}

bool HttpLoop::post(std::function<void()> work) {
  const std::lock_guard lock(mutex_);
  if (is_stopped_) return false;
  boost::asio::post(context, std::move(work));
  return true;
}

void HttpLoop::stop() {
  if (!thread_.joinable()) return;
  post([this] {
    for_each([](HttpConnection& connection) { connection.close(); });
    watch_.cancel();
    work_.reset();
  });
  thread_.join();
  const std::lock_guard lock(mutex_);
  is_stopped_ = true;
}

void HttpLoop::for_each(const std::function<void(HttpConnection&)>& visit) {
  const std::vector<HttpConnection*> all(connections_.begin(), connections_.end());
  for (HttpConnection* const connection : all) visit(*connection);
}

boost::asio::awaitable<void> HttpLoop::watch_deadlines() {
  constexpr auto kTuple = boost::asio::as_tuple(boost::asio::use_awaitable);
  while (work_.owns_work()) {
    watch_.expires_after(kWatchInterval);
    const auto [error] = co_await watch_.async_wait(kTuple);
    if (error) break;
    const auto now = std::chrono::steady_clock::now();
    for_each([&](HttpConnection& connection) { connection.check_deadline(now); });
  }
}

boost::asio::awaitable<bool> HttpSignal::wait(int64_t at_most_ms) {
  constexpr auto kTuple = boost::asio::as_tuple(boost::asio::use_awaitable);
  if (at_most_ms < 0) {
    timer_.expires_at(std::chrono::steady_clock::time_point::max());
  } else {
    timer_.expires_after(std::chrono::milliseconds(at_most_ms));
  }
  const auto [error] = co_await timer_.async_wait(kTuple);
  co_return static_cast<bool>(error);
}

}  // namespace ddpm
