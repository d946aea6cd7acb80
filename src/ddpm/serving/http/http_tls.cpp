// TLS by OpenSSL, where the build has it.
#include <stdexcept>

#include "ddpm/serving/http/http_server.h"
#include "ddpm/serving/http/http_transport.h"

#ifdef DDPM_TLS
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/ssl.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/write.hpp>
#endif

namespace ddpm {

#ifdef DDPM_TLS

class HttpTlsContext {
 public:
  HttpTlsContext(const std::string& certificate_path, const std::string& private_key_path)
      : ssl(boost::asio::ssl::context::tls_server) {
    ssl.set_options(boost::asio::ssl::context::default_workarounds |
                    boost::asio::ssl::context::no_tlsv1 | boost::asio::ssl::context::no_tlsv1_1 |
                    SSL_OP_NO_RENEGOTIATION | SSL_OP_IGNORE_UNEXPECTED_EOF);
    ssl.use_certificate_chain_file(certificate_path);
    ssl.use_private_key_file(private_key_path, boost::asio::ssl::context::pem);
  }

  boost::asio::ssl::context ssl;
};

namespace {

constexpr auto kTlsResult = boost::asio::as_tuple(boost::asio::use_awaitable);

class TlsTransport : public HttpTransport {
 public:
  TlsTransport(HttpSocket socket, std::shared_ptr<HttpTlsContext> context)
      : context_(std::move(context)), stream_(std::move(socket), context_->ssl) {}

  boost::asio::awaitable<bool> begin() override {
    const auto [error] =
        co_await stream_.async_handshake(boost::asio::ssl::stream_base::server, kTlsResult);
    co_return !error;
  }

  boost::asio::awaitable<size_t> read_some(boost::asio::mutable_buffer into) override {
    const auto [error, count] = co_await stream_.async_read_some(into, kTlsResult);
    co_return error ? 0 : count;
  }

  boost::asio::awaitable<bool> write(std::string_view bytes) override {
    const auto [error, count] = co_await boost::asio::async_write(
        stream_, boost::asio::buffer(bytes.data(), bytes.size()), kTlsResult);
    co_return !error && count == bytes.size();
  }

  boost::asio::awaitable<void> end() override { co_await stream_.async_shutdown(kTlsResult); }

  void close() override {
    boost::system::error_code ignored;
    stream_.next_layer().close(ignored);
  }

 private:
  std::shared_ptr<HttpTlsContext> context_;
  boost::asio::ssl::stream<HttpSocket> stream_;
};

}  // namespace

bool HttpServer::has_tls() { return true; }

std::shared_ptr<HttpTlsContext> make_tls_context(const std::string& certificate_path,
                                                 const std::string& private_key_path) {
  try {
    return std::make_shared<HttpTlsContext>(certificate_path, private_key_path);
  } catch (const boost::system::system_error& error) {
    throw std::runtime_error("[make_tls_context] certificate and key: expected PEM files, got " +
                             certificate_path + " and " + private_key_path + ": " +
                             error.code().message());
  }
}

std::unique_ptr<HttpTransport> make_tls_transport(HttpSocket socket,
                                                  std::shared_ptr<HttpTlsContext> context) {
  return std::make_unique<TlsTransport>(std::move(socket), std::move(context));
}

#else

class HttpTlsContext {};

bool HttpServer::has_tls() { return false; }

std::shared_ptr<HttpTlsContext> make_tls_context(const std::string&, const std::string&) {
  throw std::runtime_error(
      "[make_tls_context] TLS: expected a build with OpenSSL, got one without");
}

std::unique_ptr<HttpTransport> make_tls_transport(HttpSocket, std::shared_ptr<HttpTlsContext>) {
  throw std::logic_error("[make_tls_transport] TLS: expected a build with OpenSSL");
}

#endif

}  // namespace ddpm
