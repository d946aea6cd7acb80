#include "ddpm/serving/http/http_listener.h"

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdexcept>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "ddpm/serving/http/http_connection.h"

namespace ddpm {
namespace {

using boost::asio::ip::tcp;
using boost::asio::local::stream_protocol;

constexpr int kBacklog = 1024;
constexpr int kSendBufferBytes = 128 << 10;  // bounds what the kernel keeps for a slow reader
constexpr int kUnsentBytes = 64 << 10;
constexpr std::chrono::milliseconds kAfterAcceptError{50};
constexpr std::string_view kBusyAnswer =
    "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\nRetry-After: 1\r\n"
    "Connection: close\r\n\r\n";

void set_option(int socket, int level, int name, int value) {
  // What fails here only makes the connection slower.
  static_cast<void>(::setsockopt(socket, level, name, &value, sizeof value));
}

void set_options(int socket, bool is_unix) {
  set_option(socket, SOL_SOCKET, SO_SNDBUF, kSendBufferBytes);
  if (is_unix) return;
  set_option(socket, IPPROTO_TCP, TCP_NODELAY, 1);
  set_option(socket, IPPROTO_TCP, TCP_NOTSENT_LOWAT, kUnsentBytes);
  set_option(socket, SOL_SOCKET, SO_KEEPALIVE, 1);
  set_option(socket, IPPROTO_TCP, TCP_KEEPIDLE, 30);
  set_option(socket, IPPROTO_TCP, TCP_KEEPINTVL, 10);
  set_option(socket, IPPROTO_TCP, TCP_KEEPCNT, 3);
}

template <typename Socket>
std::string address_of(const Socket& socket, bool is_unix) {
  if (is_unix) return "unix";
  boost::system::error_code error;
  const auto endpoint = socket.remote_endpoint(error);
  if constexpr (std::is_same_v<std::decay_t<decltype(endpoint)>, tcp::endpoint>) {
    return error ? std::string() : endpoint.address().to_string();
  }
  return {};
}

/// Removes a socket file that no server listens on any more.
void remove_stale_socket(const std::string& path) {
  struct stat found {};
  if (::lstat(path.c_str(), &found) != 0) return;
  boost::asio::io_context context;
  stream_protocol::socket probe(context);
  boost::system::error_code error;
  if (S_ISSOCK(found.st_mode)) probe.connect(stream_protocol::endpoint(path), error);
  if (error != boost::asio::error::connection_refused) {
    throw std::runtime_error("[HttpListener] unix_socket: expected a free path, got '" + path +
                             "'");
  }
  ::unlink(path.c_str());
}

}  // namespace

HttpListener::HttpListener(std::vector<std::shared_ptr<HttpLoop>> loops,
                           std::shared_ptr<HttpServiceState> state)
    : loops_(std::move(loops)), state_(std::move(state)) {}

void HttpListener::open() {
  const HttpServerOptions& options = state_->options;
  if (!options.tls_certificate.empty()) {
    tls_ = make_tls_context(options.tls_certificate, options.tls_private_key);
  }
  if (!options.address.empty()) open_tcp();
  if (!options.unix_socket.empty()) open_unix();
}

void HttpListener::open_tcp() {
  const HttpServerOptions& options = state_->options;
  const std::string where = options.address + ":" + std::to_string(options.port);
  try {
    const std::string number = options.address == "localhost" ? "127.0.0.1" : options.address;
    const tcp::endpoint endpoint(boost::asio::ip::make_address(number),
                                 static_cast<unsigned short>(options.port));
    tcp_.emplace(loops_[0]->context);
    tcp_->open(endpoint.protocol());
    tcp_->set_option(tcp::acceptor::reuse_address(true));
    tcp_->bind(endpoint);
    tcp_->listen(kBacklog);
    port_ = tcp_->local_endpoint().port();
  } catch (const boost::system::system_error& error) {
    throw std::runtime_error("[HttpListener] address: expected one to listen on, got " + where +
                             ": " + error.code().message());
  }
}

void HttpListener::open_unix() {
  const std::string& path = state_->options.unix_socket;
  remove_stale_socket(path);
  try {
    unix_.emplace(loops_[0]->context);
    unix_->open();
    unix_->bind(stream_protocol::endpoint(path));
    ::chmod(path.c_str(), S_IRUSR | S_IWUSR);  // before listen(): nobody has connected yet
    unix_->listen(kBacklog);
  } catch (const boost::system::system_error& error) {
    throw std::runtime_error("[HttpListener] unix_socket: expected a path to listen on, got '" +
                             path + "': " + error.code().message());
  }
}

void HttpListener::start() {
  const auto spawn = [this](auto& acceptor, bool is_unix) {
    boost::asio::co_spawn(
        loops_[0]->context,
        [self = shared_from_this(), &acceptor, is_unix] {
          return self->accept_all(acceptor, is_unix);
        },
        boost::asio::detached);
  };
  if (tcp_) spawn(*tcp_, false);
  if (unix_) spawn(*unix_, true);
}

void HttpListener::close() {
  if (is_closed_) return;
  is_closed_ = true;
  boost::system::error_code ignored;
  if (tcp_) tcp_->close(ignored);
  if (unix_) {
    unix_->close(ignored);
    ::unlink(state_->options.unix_socket.c_str());
  }
}

template <typename Acceptor>
boost::asio::awaitable<void> HttpListener::accept_all(Acceptor& acceptor, bool is_unix) {
  constexpr auto kTuple = boost::asio::as_tuple(boost::asio::use_awaitable);
  boost::asio::steady_timer pause(loops_[0]->context);
  while (!is_closed_) {
    const std::shared_ptr<HttpLoop> loop = loops_[next_loop_++ % loops_.size()];
    auto [error, socket] = co_await acceptor.async_accept(loop->context, kTuple);
    if (is_closed_) break;
    if (error) {  // such as too many open files: others may close theirs meanwhile
      pause.expires_after(kAfterAcceptError);
      co_await pause.async_wait(kTuple);
      continue;
    }
    std::string address = address_of(socket, is_unix);
    if (!address.empty()) take(HttpSocket(std::move(socket)), loop, std::move(address), is_unix);
  }
}

void HttpListener::take(HttpSocket socket, const std::shared_ptr<HttpLoop>& loop,
                        std::string address, bool is_unix) {
  if (!state_->connections.enter(address)) {
    state_->refused_connections.add();
    if (!tls_ || is_unix) {
      static_cast<void>(::send(socket.native_handle(), kBusyAnswer.data(), kBusyAnswer.size(),
                               MSG_DONTWAIT | MSG_NOSIGNAL));
    }
    return;  // closes it
  }
  set_options(socket.native_handle(), is_unix);
  auto transport = tls_ && !is_unix ? make_tls_transport(std::move(socket), tls_)
                                    : make_plain_transport(std::move(socket));
  const auto connection =
      std::make_shared<HttpConnection>(loop, state_, std::move(transport), std::move(address));
  loop->post([connection] { connection->start(); });
}

}  // namespace ddpm
