#pragma once

#include <boost/asio/awaitable.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/local/stream_protocol.hpp>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "ddpm/serving/http/http_loop.h"
#include "ddpm/serving/http/http_service_state.h"
#include "ddpm/serving/http/http_transport.h"

namespace ddpm {

/// Takes connections from a TCP port and a Unix socket and deals them out to the loops. Runs in the
/// first loop's thread.
class HttpListener : public std::enable_shared_from_this<HttpListener> {
 public:
  HttpListener(std::vector<std::shared_ptr<HttpLoop>> loops,
               std::shared_ptr<HttpServiceState> state);

  /// Before the loops start. @throws std::runtime_error if it can't listen.
  void open();
  int port() const { return port_; }

  void start();
  /// In the first loop's thread.
  void close();

 private:
  void open_tcp();
  void open_unix();
  template <typename Acceptor>
  boost::asio::awaitable<void> accept_all(Acceptor& acceptor, bool is_unix);
  void take(HttpSocket socket, const std::shared_ptr<HttpLoop>& loop, std::string address,
            bool is_unix);

  std::vector<std::shared_ptr<HttpLoop>> loops_;
  std::shared_ptr<HttpServiceState> state_;
  std::shared_ptr<HttpTlsContext> tls_;
  std::optional<boost::asio::ip::tcp::acceptor> tcp_;
  std::optional<boost::asio::local::stream_protocol::acceptor> unix_;
  size_t next_loop_ = 0;
  int port_ = 0;
  bool is_closed_ = false;
};

}  // namespace ddpm
