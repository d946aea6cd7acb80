// Clients that send or read slowly, or leave. Each is given up, and others don't notice.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "serving/http_test_server.h"

namespace ddpm {
namespace {

HttpServerOptions with_short_timeouts() {
  HttpServerOptions options;
  options.timeouts = {.head_ms = 300, .body_ms = 300, .idle_ms = 300, .write_ms = 300};
  return options;
}

TEST(HttpSlowClientsTest, ASlowHeadTimesOut) {
  const HttpTestServer server(with_short_timeouts());
  RawClient client(server.port());
  client.send("GET /hello HTTP/1.1\r\nHost: localhost\r\n");
  for (int i = 0; i < 20 && client.send("X: y\r\n") && !client.receive(100); ++i) {
  }
  EXPECT_EQ(client.read_response().status, 408);
  EXPECT_TRUE(client.sees_end());
}

TEST(HttpSlowClientsTest, ASlowBodyTimesOut) {
  const HttpTestServer server(with_short_timeouts());
  RawClient client(server.port());
  client.send(
      "POST /json HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
      "Content-Length: 100\r\n\r\n{");
  EXPECT_EQ(client.read_response().status, 408);
  EXPECT_TRUE(client.sees_end());
}

TEST(HttpSlowClientsTest, SilentConnectionsAreClosed) {
  const HttpTestServer server(with_short_timeouts());
  RawClient silent(server.port()), idle(server.port());
  EXPECT_EQ(idle.ask(get_text("/hello")).status, 200);
  EXPECT_TRUE(silent.sees_end(3000));
  EXPECT_TRUE(idle.sees_end(3000));
  EXPECT_EQ(silent.received(), "");
}

TEST(HttpSlowClientsTest, SlowLorisesDontKeepOthersWaiting) {
  const HttpTestServer server(with_short_timeouts());
  std::vector<std::unique_ptr<RawClient>> lorises;
  for (int i = 0; i < 200; ++i) {
    lorises.push_back(std::make_unique<RawClient>(server.port()));
    lorises.back()->send("GET /hel");
  }
  EXPECT_EQ(server.ask(get_text("/hello")).status, 200);
  for (auto& loris : lorises) EXPECT_EQ(loris->read_response().status, 408);
}

TEST(HttpSlowClientsTest, AReaderThatStopsIsCut) {
  HttpTestServer server(with_short_timeouts(), true);
  RawClient client(server.port(), 4096);
  client.send(get_text("/big"));
  EXPECT_TRUE(eventually([&] { return server.log().find("ended=") != std::string::npos; }));
  EXPECT_TRUE(eventually([&] { return server.server->num_connections() == 0; }));
}

TEST(HttpSlowClientsTest, AHalfClosedClientIsStillAnswered) {
  HttpTestServer server(with_short_timeouts());
  RawClient client(server.port());
  client.send(get_text("/hello") + get_text("/count") + get_text("/worker"));
  client.half_close();
  EXPECT_EQ(client.read_response().body, "hello");
  EXPECT_EQ(client.read_response().body, "1");
  EXPECT_EQ(client.read_response().body, "worked");
  EXPECT_TRUE(client.sees_end());
}

TEST(HttpSlowClientsTest, AHalfClosedClientWithHalfARequestIsRefused) {
  const HttpTestServer server(with_short_timeouts());
  RawClient client(server.port());
  client.send("GET /hello HT");
  client.half_close();
  EXPECT_EQ(client.read_response().status, 400);
  EXPECT_TRUE(client.sees_end());
}

TEST(HttpSlowClientsTest, AHandlerLearnsThatItsClientLeft) {
  HttpTestServer server;
  for (int i = 0; i < 3; ++i) {
    RawClient client(server.port());
    client.send(get_text("/later"));
    EXPECT_TRUE(eventually([&] { return server.num_responders() == static_cast<size_t>(i) + 1; }));
    i == 0 ? client.reset() : i == 1 ? client.half_close() : client.close();
    EXPECT_TRUE(eventually([&] { return server.num_gone == i + 1; }));
  }
  server.answer_responders();
  EXPECT_TRUE(eventually([&] { return server.server->num_connections() == 0; }));
}

TEST(HttpSlowClientsTest, AnAnswerMayComeLateFromAnotherThread) {
  HttpTestServer server(with_short_timeouts());
  RawClient client(server.port());
  client.send(get_text("/later") + get_text("/hello"));
  EXPECT_TRUE(eventually([&] { return server.num_responders() == 1; }));
  std::this_thread::sleep_for(std::chrono::milliseconds(500));  // longer than any timeout
  server.answer_responders();
  EXPECT_EQ(client.read_response().body, "\"late\"");
  EXPECT_EQ(client.read_response().body, "hello");
}

TEST(HttpSlowClientsTest, ARequestThatNobodyAnswersFails) {
  HttpTestServer server;
  RawClient client(server.port());
  client.send(get_text("/later"));
  EXPECT_TRUE(eventually([&] { return server.num_responders() == 1; }));
  server.forget_responders();
  EXPECT_EQ(client.read_response().status, 500);
}

}  // namespace
}  // namespace ddpm
