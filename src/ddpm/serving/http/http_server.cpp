#include "ddpm/serving/http/http_server.h"

#include <atomic>
#include <future>
#include <thread>

#include "ddpm/serving/http/http_connection.h"
#include "ddpm/serving/http/http_listener.h"
#include "ddpm/serving/http/http_loop.h"
#include "ddpm/serving/http/http_service_state.h"

namespace ddpm {

struct HttpServer::Parts {
  Parts(HttpServerOptions options, HttpRouter router)
      : state(std::make_shared<HttpServiceState>(std::move(options), std::move(router))) {}

  std::shared_ptr<HttpServiceState> state;
  std::vector<std::shared_ptr<HttpLoop>> loops;
  std::shared_ptr<HttpListener> listener;
  std::atomic<int> port = 0;

  /// Returns when no connection is taken any more.
  void close_listener() {
    std::promise<void> closed;
    const bool is_posted = loops[0]->post([&] {
      listener->close();
      closed.set_value();
    });
    if (is_posted) closed.get_future().wait();
  }
};

HttpServer::HttpServer(HttpServerOptions options, HttpRouter router)
    : parts_(std::make_unique<Parts>(std::move(options), std::move(router))) {}

HttpServer::~HttpServer() { stop(); }

void HttpServer::start() {
  std::vector<std::shared_ptr<HttpLoop>> loops;
  for (int i = 0; i < parts_->state->options.io_threads; ++i) {
    loops.push_back(std::make_shared<HttpLoop>());
  }
  auto listener = std::make_shared<HttpListener>(loops, parts_->state);
  listener->open();
  listener->start();
  parts_->port = listener->port();
  parts_->loops = std::move(loops);
  parts_->listener = std::move(listener);
  for (const auto& loop : parts_->loops) loop->start();
}

int HttpServer::port() const { return parts_->port; }

int HttpServer::num_connections() const { return parts_->state->connections.total(); }

void HttpServer::drain(std::chrono::milliseconds at_most) {
  if (parts_->loops.empty()) return;
  const auto deadline = std::chrono::steady_clock::now() + at_most;
  parts_->state->is_draining = true;
  parts_->close_listener();
  for (const auto& loop : parts_->loops) {
    loop->post([raw = loop.get()] {
      raw->for_each([](HttpConnection& connection) { connection.drain(); });
    });
  }
  constexpr std::chrono::milliseconds kBetweenLooks{10};
  while (num_connections() > 0 && std::chrono::steady_clock::now() < deadline) {
    std::this_thread::sleep_for(kBetweenLooks);
  }
  stop();
}

void HttpServer::stop() {
  if (parts_->loops.empty()) return;
  parts_->close_listener();
  for (const auto& loop : parts_->loops) loop->stop();
  parts_->state->workers.stop();
  parts_->listener.reset();
  parts_->loops.clear();
}

}  // namespace ddpm
