#include "ddpm/serving/http/http_transport.h"

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/write.hpp>

namespace ddpm {
namespace {

namespace asio = boost::asio;
constexpr auto kPlainResult = asio::as_tuple(asio::use_awaitable);

class PlainTransport : public HttpTransport {
 public:
  explicit PlainTransport(HttpSocket socket) : socket_(std::move(socket)) {}

  asio::awaitable<bool> begin() override { co_return true; }

  asio::awaitable<size_t> read_some(asio::mutable_buffer into) override {
    const auto [error, count] = co_await socket_.async_read_some(into, kPlainResult);
    co_return error ? 0 : count;
  }

  asio::awaitable<bool> write(std::string_view bytes) override {
    const auto [error, count] =
        co_await asio::async_write(socket_, asio::buffer(bytes.data(), bytes.size()), kPlainResult);
    co_return !error && count == bytes.size();
  }

  asio::awaitable<void> end() override {
    boost::system::error_code ignored;
    socket_.shutdown(asio::socket_base::shutdown_send, ignored);
    co_return;
  }

  void close() override {
    boost::system::error_code ignored;
    socket_.close(ignored);
  }

 private:
  HttpSocket socket_;
};

}  // namespace

std::unique_ptr<HttpTransport> make_plain_transport(HttpSocket socket) {
  return std::make_unique<PlainTransport>(std::move(socket));
}

}  // namespace ddpm
