#pragma once

#include <boost/asio/awaitable.hpp>
#include <boost/asio/buffer.hpp>
#include <boost/asio/generic/stream_protocol.hpp>
#include <memory>
#include <string>
#include <string_view>

namespace ddpm {

using HttpSocket = boost::asio::generic::stream_protocol::socket;

/// Bytes to and from a client: plain (TCP, Unix) or in TLS. Reading and writing may go on at the
/// same time; everything runs in the thread of the socket's loop.
class HttpTransport {
 public:
  virtual ~HttpTransport() = default;

  /// False if the client doesn't speak the protocol.
  virtual boost::asio::awaitable<bool> begin() = 0;
  /// 0: the client sends no more, or the connection is broken.
  virtual boost::asio::awaitable<size_t> read_some(boost::asio::mutable_buffer into) = 0;
  /// False if the connection is broken.
  virtual boost::asio::awaitable<bool> write(std::string_view bytes) = 0;
  /// Tells the client that nothing follows.
  virtual boost::asio::awaitable<void> end() = 0;
  virtual void close() = 0;
};

std::unique_ptr<HttpTransport> make_plain_transport(HttpSocket socket);

/// Certificate and key, read once for all connections; nullptr in a build without OpenSSL.
class HttpTlsContext;
/// @throws std::runtime_error if a file can't be used.
std::shared_ptr<HttpTlsContext> make_tls_context(const std::string& certificate_path,
                                                 const std::string& private_key_path);
std::unique_ptr<HttpTransport> make_tls_transport(HttpSocket socket,
                                                  std::shared_ptr<HttpTlsContext> context);

}  // namespace ddpm
