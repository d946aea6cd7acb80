#include "ddpm/serving/load/http_client.h"

#include <boost/asio/connect.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http/read.hpp>
#include <boost/beast/http/string_body.hpp>
#include <boost/beast/http/write.hpp>
#include <limits>
#include <stdexcept>
#include <sys/socket.h>
#include <sys/time.h>
#include <utility>

namespace ddpm {

namespace asio = boost::asio;
namespace http = boost::beast::http;

struct HttpClient::Connection {
  std::string host;
  int port = 0;
  int patience_seconds = 0;
  asio::io_context context = {};
  asio::ip::tcp::socket socket{context};
  boost::beast::flat_buffer buffer = {};

  void open() {
    buffer.clear();
    asio::ip::tcp::resolver resolver(context);
    asio::connect(socket, resolver.resolve(host, std::to_string(port)));
    socket.set_option(asio::ip::tcp::no_delay(true));
    const timeval patience{.tv_sec = patience_seconds, .tv_usec = 0};
    ::setsockopt(socket.native_handle(), SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
  }

  void close() {
    boost::system::error_code ignored;
    socket.close(ignored);
  }

  HttpReply exchange(const http::request<http::string_body>& request) {
    if (!socket.is_open()) open();
    http::write(socket, request);
    http::response_parser<http::string_body> parser;
    parser.body_limit(std::numeric_limits<uint64_t>::max());
    http::read(socket, buffer, parser);
    const http::response<http::string_body> response = parser.release();
    if (!response.keep_alive()) close();
    HttpReply reply{.status = static_cast<int>(response.result_int()), .body = response.body()};
    for (const auto& field : response) {
      reply.headers.emplace_back(field.name_string(), field.value());
    }
    return reply;
  }
};

HttpClient::HttpClient(std::string host, int port, int patience_seconds)
    : connection_(std::make_unique<Connection>()) {
  connection_->host = std::move(host);
  connection_->port = port;
  connection_->patience_seconds = patience_seconds;
}

HttpClient::~HttpClient() = default;

HttpReply HttpClient::request(HttpMethod method, const std::string& target,
                              const HttpHeaders& headers, const std::string& body) {
  http::request<http::string_body> request(
      http::string_to_verb(std::string(http_method_name(method))), target, 11);
  request.set(http::field::host, connection_->host);
  for (const auto& [name, value] : headers) request.set(name, value);
  if (!body.empty()) {
    request.set(http::field::content_type, "application/json");
    request.body() = body;
  }
  request.prepare_payload();
  const bool was_open = connection_->socket.is_open();
  try {
    try {
      return connection_->exchange(request);
    } catch (const boost::system::system_error& error) {
      // A kept connection that the server closed meanwhile has given no answer yet.
      const bool is_stale = was_open && (error.code() == http::error::end_of_stream ||
                                         error.code() == asio::error::broken_pipe ||
                                         error.code() == asio::error::connection_reset);
      if (!is_stale) throw;
      connection_->close();
      return connection_->exchange(request);
    }
  } catch (const boost::system::system_error& error) {
    connection_->close();
    throw std::runtime_error("[HttpClient] " + connection_->host + ":" +
                             std::to_string(connection_->port) + ": " + error.code().message());
  }
}

}  // namespace ddpm
