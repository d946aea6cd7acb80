#pragma once

#include <algorithm>
#include <arpa/inet.h>
#include <chrono>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <string>
#include <string_view>
#include <sys/socket.h>
#include <thread>
#include <unistd.h>

#include "ddpm/serving/http/http_message.h"

namespace ddpm {

/// What a server answered.
struct RawResponse {
  int status = 0;  ///< 0: nothing that is a response came
  HttpHeaders headers;
  std::string body;
  bool is_whole = false;

  std::string field(std::string_view name) const {
    const std::string* const value = find_header(headers, name);
    return value == nullptr ? std::string() : *value;
  }
};

/// A TCP client that sends any bytes, good or bad. Waits at most `patience_ms` for each thing.
class RawClient {
 public:
  explicit RawClient(int port, int receive_buffer_bytes = 0)
      : socket_(::socket(AF_INET, SOCK_STREAM, 0)) {
    if (receive_buffer_bytes > 0) {
      ::setsockopt(socket_, SOL_SOCKET, SO_RCVBUF, &receive_buffer_bytes, sizeof(int));
    }
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(static_cast<uint16_t>(port));
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    is_connected_ =
        ::connect(socket_, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0;
    ::fcntl(socket_, F_SETFL, O_NONBLOCK);
  }
  ~RawClient() { close(); }
  RawClient(const RawClient&) = delete;
  RawClient& operator=(const RawClient&) = delete;

  bool is_connected() const { return is_connected_; }

  /// False if the server broke the connection, or took nothing for `patience_ms`.
  bool send(std::string_view bytes, int patience_ms = 5000) {
    while (!bytes.empty()) {
      if (!wait_for(POLLOUT, patience_ms)) return false;
      const ssize_t count = ::send(socket_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
      if (count < 0 && errno != EAGAIN) return false;
      if (count > 0) bytes.remove_prefix(static_cast<size_t>(count));
    }
    return true;
  }

  /// Appends to received(); false at the connection's end or when the time is over.
  bool receive(int patience_ms = 5000) {
    char piece[16384];
    if (!wait_for(POLLIN, patience_ms)) return false;
    const ssize_t count = ::recv(socket_, piece, sizeof piece, 0);
    if (count <= 0) {
      is_ended_ = count == 0 || errno != EAGAIN;
      return false;
    }
    received_.append(piece, static_cast<size_t>(count));
    return true;
  }
  const std::string& received() const { return received_; }

  bool receive_until(std::string_view text, int patience_ms = 5000) {
    while (received_.find(text) == received_.npos) {
      if (!receive(patience_ms)) return false;
    }
    return true;
  }

  /// Whether the server ends the connection within the time.
  bool sees_end(int patience_ms = 5000) {
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::milliseconds(patience_ms);
    while (!is_ended_ && std::chrono::steady_clock::now() < deadline) receive(50);
    return is_ended_;
  }

  RawResponse read_response(bool has_body = true) {
    RawResponse response;
    size_t end = 0;
    while ((end = received_.find("\r\n\r\n")) == received_.npos) {
      if (!receive()) return response;
    }
    parse_head(received_.substr(0, end), response);
    received_.erase(0, end + 4);
    if (!has_body || response.status == 304 || response.status == 204) {
      response.is_whole = true;
    } else if (response.field("Transfer-Encoding") == "chunked") {
      read_chunks(response);
    } else {
      const std::string length = response.field("Content-Length");
      read_bytes(response, length.empty() ? std::string::npos : std::stoul(length));
    }
    return response;
  }

  RawResponse ask(std::string_view request, bool has_body = true) {
    send(request);
    return read_response(has_body);
  }

  void half_close() { ::shutdown(socket_, SHUT_WR); }
  void reset() {
    const linger at_once{1, 0};
    ::setsockopt(socket_, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
    close();
  }
  void close() {
    if (socket_ >= 0) ::close(socket_);
    socket_ = -1;
  }

 private:
  bool wait_for(short event, int patience_ms) {
    pollfd waiting{socket_, event, 0};
    return ::poll(&waiting, 1, patience_ms) > 0;
  }

  static void parse_head(const std::string& head, RawResponse& response) {
    response.status = head.starts_with("HTTP/1.1 ") ? std::stoi(head.substr(9, 3)) : 0;
    for (size_t at = head.find("\r\n"); at != head.npos; at = head.find("\r\n", at + 2)) {
      const std::string line = head.substr(at + 2, head.find("\r\n", at + 2) - at - 2);
      const size_t colon = line.find(": ");
      response.headers.emplace_back(line.substr(0, colon), line.substr(colon + 2));
    }
  }

  void read_bytes(RawResponse& response, size_t length) {
    while (received_.size() < length && receive()) {
    }
    response.is_whole = length == std::string::npos ? is_ended_ : received_.size() >= length;
    response.body += received_.substr(0, length);
    received_.erase(0, std::min(length, received_.size()));
  }

  void read_chunks(RawResponse& response) {
    for (;;) {
      if (!receive_until("\r\n")) return;
      const size_t end = received_.find("\r\n");
      const size_t size = std::stoul(received_.substr(0, end), nullptr, 16);
      received_.erase(0, end + 2);
      response.is_whole = false;
      read_bytes(response, size);
      if (!receive_until("\r\n")) return;
      received_.erase(0, 2);
      if (size == 0) return;
      if (!response.is_whole) return;
    }
  }

  int socket_;
  bool is_connected_ = false;
  bool is_ended_ = false;
  std::string received_;
};

}  // namespace ddpm
