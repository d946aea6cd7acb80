// What clients may not do, and what becomes of them. The server's memory stays bounded meanwhile.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "serving/http_test_server.h"

namespace ddpm {
namespace {

constexpr int64_t kMemoryBoundKib = 64 << 10;

/// Sends `piece` up to `times`; how often it went before the server stopped taking more.
int flood(RawClient& client, const std::string& piece, int times) {
  for (int i = 0; i < times; ++i) {
    if (!client.send(piece, 2000)) return i;
  }
  return times;
}

TEST(HttpLimitsTest, AHeaderOf200MegabytesIsCutShort) {
  const HttpTestServer server;
  const int64_t before = resident_kib();
  RawClient client(server.port());
  client.send("GET /hello HTTP/1.1\r\nHost: localhost\r\nX: ");
  const std::string piece(1 << 20, 'a');
  EXPECT_LT(flood(client, piece, 200), 16);
  EXPECT_LT(resident_kib() - before, kMemoryBoundKib);
  RawClient other(server.port());
  other.send("GET /hello HTTP/1.1\r\nHost: localhost\r\nX: " + std::string(20'000, 'a'));
  EXPECT_EQ(other.read_response().status, 431);
  EXPECT_TRUE(other.sees_end());
  EXPECT_EQ(server.ask(get_text("/hello")).status, 200);
}

TEST(HttpLimitsTest, ARequestLineWithoutEndIsTooLong) {
  const HttpTestServer server;
  RawClient client(server.port());
  client.send("GET /" + std::string(20'000, 'a'));
  EXPECT_EQ(client.read_response().status, 414);
  EXPECT_EQ(server.ask(get_text("/" + std::string(5'000, 'a'))).status, 414);
}

TEST(HttpLimitsTest, AFloodOfFieldsIsRefused) {
  const HttpTestServer server;
  std::string fields;
  for (int i = 0; i < 101; ++i) fields += "X-" + std::to_string(i) + ": a\r\n";
  EXPECT_EQ(server.ask(get_text("/hello", fields)).status, 431);
  RawClient client(server.port());
  client.send("GET /hello HTTP/1.1\r\nHost: localhost\r\n");
  std::string many;
  for (int i = 0; i < 100'000; ++i) many += "a:b\r\n";
  EXPECT_LT(flood(client, many, 200), 20);
}

TEST(HttpLimitsTest, BodiesAreBoundedBeforeTheyAreRead) {
  const HttpTestServer server;
  const int64_t before = resident_kib();
  EXPECT_EQ(server
                .ask("POST /json HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
                     "Content-Length: 99999999999\r\n\r\n")
                .status,
            413);
  EXPECT_EQ(server.ask(post_text("/json", std::string(65'537, ' '))).status, 413);
  EXPECT_EQ(server.ask(post_text("/json", std::string(65'536, ' '))).status, 200);
  EXPECT_LT(resident_kib() - before, kMemoryBoundKib);
}

const std::string kChunkedHead =
    "POST /json HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    "Transfer-Encoding: chunked\r\n\r\n";

TEST(HttpLimitsTest, AChunkBombIsRefusedByBytesAndByChunks) {
  const HttpTestServer server;
  const int64_t before = resident_kib();
  RawClient large(server.port());
  large.send(kChunkedHead);
  EXPECT_LT(flood(large, "100000\r\n" + std::string(1 << 20, 'a') + "\r\n", 200), 8);
  EXPECT_EQ(server.ask(kChunkedHead + "ffffffff\r\n").status, 413);
  std::string tiny;
  for (int i = 0; i < 8'193; ++i) tiny += "1\r\na\r\n";
  EXPECT_EQ(server.ask(kChunkedHead + tiny).status, 413);
  RawClient endless(server.port());
  endless.send(kChunkedHead);
  EXPECT_LT(flood(endless, "1;" + std::string(1 << 20, 'e'), 200), 8);
  EXPECT_LT(resident_kib() - before, kMemoryBoundKib);
}

TEST(HttpLimitsTest, SmuggledRequestsAreRefusedAndTheirConnectionEnds) {
  const HttpTestServer server;
  RawClient client(server.port());
  client.send(
      "POST /json HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
      "Content-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nG" +
      get_text("/count"));
  EXPECT_EQ(client.read_response().status, 400);
  EXPECT_TRUE(client.sees_end());
  EXPECT_EQ(client.received(), "");
  EXPECT_EQ(server.num_handled, 0);
}

TEST(HttpLimitsTest, TraversalNeverReachesAHandler) {
  const HttpTestServer server;
  for (const char* target : {"/../../etc/passwd", "/echo/..%2f..%2fetc%2fpasswd", "/echo/%2e%2e",
                             "/echo/..", "/echo/%00", "/echo/%5c..%5c", "//etc/passwd"}) {
    const int status = server.ask(get_text(target)).status;
    EXPECT_TRUE(status == 400 || status == 404) << target << status;
  }
}

TEST(HttpLimitsTest, BodiesShareABudget) {
  HttpServerOptions options;
  options.limits.max_bodies_bytes = 256 << 10;
  const HttpTestServer server(options);
  const std::string head =
      "POST /upload HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/octet-stream\r\n"
      "Content-Length: 200000\r\n\r\n";
  const std::string body(200'000, 'a');
  RawClient first(server.port()), second(server.port());
  first.send(head + body.substr(1));
  EXPECT_TRUE(eventually([&] { return server.server->num_connections() == 2; }));
  EXPECT_EQ(first.sees_end(200), false);
  second.send(head);
  second.send(body);
  EXPECT_EQ(second.read_response().status, 503);
  EXPECT_EQ(first.ask("a").body, "200000");
  EXPECT_EQ(server.ask(head + body).body, "200000");
}

TEST(HttpLimitsTest, ConnectionsOverTheLimitAreTurnedAwayAndOthersServed) {
  HttpServerOptions options;
  options.limits.max_connections = 600;
  options.limits.max_connections_per_address = 600;
  HttpTestServer server(options);
  const int64_t before = resident_kib();
  std::vector<std::unique_ptr<RawClient>> clients;
  int num_connected = 0;
  for (int i = 0; i < 2000; ++i) {
    clients.push_back(std::make_unique<RawClient>(server.port()));
    num_connected += clients.back()->is_connected();
    if (i == 0) {
      EXPECT_EQ(clients[0]->ask(get_text("/hello")).status, 200);
    }
  }
  EXPECT_EQ(num_connected, 2000);
  EXPECT_TRUE(eventually([&] {
    return server.metrics.counter("ddpm_http_connections_refused_total", "").value() == 1400;
  }));
  EXPECT_EQ(server.server->num_connections(), 600);
  EXPECT_EQ(clients.back()->read_response().status, 503);
  EXPECT_EQ(clients[0]->ask(get_text("/hello")).status, 200);
  EXPECT_EQ(clients[599]->ask(get_text("/hello")).status, 200);
  EXPECT_LT(resident_kib() - before, kMemoryBoundKib);
  clients.clear();
  EXPECT_TRUE(eventually([&] { return server.server->num_connections() == 0; }));
  EXPECT_EQ(server.ask(get_text("/hello")).status, 200);
}

TEST(HttpLimitsTest, AnAddressHasItsOwnLimit) {
  HttpServerOptions options;
  options.limits.max_connections_per_address = 2;
  const HttpTestServer server(options);
  RawClient first(server.port()), second(server.port()), third(server.port());
  EXPECT_EQ(third.read_response().status, 503);
  EXPECT_EQ(first.ask(get_text("/hello")).status, 200);
}

TEST(HttpLimitsTest, AConnectionEndsAfterSoManyRequests) {
  HttpServerOptions options;
  options.limits.max_requests_per_connection = 3;
  const HttpTestServer server(options);
  RawClient client(server.port());
  EXPECT_EQ(client.ask(get_text("/hello")).field("Connection"), "");
  EXPECT_EQ(client.ask(get_text("/hello")).field("Connection"), "");
  EXPECT_EQ(client.ask(get_text("/hello")).field("Connection"), "close");
  EXPECT_TRUE(client.sees_end());
}

TEST(HttpLimitsTest, BusyWorkersAnswerThatTheyAre) {
  HttpServerOptions options;
  options.worker_threads = 1;
  options.limits.max_waiting_handlers = 2;
  const HttpTestServer server(options);
  std::vector<std::unique_ptr<RawClient>> clients;
  for (int i = 0; i < 8; ++i) {
    clients.push_back(std::make_unique<RawClient>(server.port()));
    clients.back()->send(get_text("/worker"));
  }
  int num_worked = 0, num_busy = 0;
  for (auto& client : clients) {
    const RawResponse response = client->read_response();
    num_worked += response.status == 200;
    num_busy += response.status == 503 && response.field("Retry-After") == "1";
  }
  EXPECT_EQ(num_worked + num_busy, 8);
  EXPECT_GE(num_worked, 2);
  EXPECT_GE(num_busy, 1);
}

TEST(HttpLimitsTest, NoiseIsAnsweredOrDroppedAndNeverHurts) {
  const HttpTestServer server;
  uint32_t state = 1;
  for (int i = 0; i < 200; ++i) {
    std::string noise;
    for (int k = 0; k < 300; ++k) {
      state = state * 1664525 + 1013904223;
      noise += k % 50 == 49 ? std::string("\r\n") : std::string(1, static_cast<char>(state >> 24));
    }
    RawClient client(server.port());
    client.send(noise + "\r\n\r\n");
    EXPECT_EQ(client.read_response().status / 100, 4);
  }
  EXPECT_EQ(server.ask(get_text("/hello")).status, 200);
}

}  // namespace
}  // namespace ddpm
