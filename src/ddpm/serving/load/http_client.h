#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "ddpm/serving/http/http_message.h"

namespace ddpm {

struct HttpReply {
  int status = 0;
  HttpHeaders headers = {};
  std::string body = {};
};

/// A client of plain HTTP/1.1 over one connection, which it keeps and opens again when it is
/// closed. Calls block; one thread at a time.
class HttpClient {
 public:
  /// @param patience_seconds for the server's next byte.
  HttpClient(std::string host, int port, int patience_seconds = 600);
  ~HttpClient();
  HttpClient(const HttpClient&) = delete;
  HttpClient& operator=(const HttpClient&) = delete;

  /// @param target  "/v1/generate"
  /// @param body    sent as JSON; empty: none.
  /// @throws std::runtime_error if the server can't be reached or breaks off.
  HttpReply request(HttpMethod method, const std::string& target, const HttpHeaders& headers = {},
                    const std::string& body = {});

 private:
  struct Connection;
  std::unique_ptr<Connection> connection_;
};

}  // namespace ddpm
