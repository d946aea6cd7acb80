// How a server ends.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "serving/http_test_server.h"

namespace ddpm {
namespace {

TEST(HttpDrainTest, RequestsInFlightAreAnsweredAndNewOnesNotTaken) {
  HttpTestServer server;
  RawClient waiting(server.port()), idle(server.port());
  EXPECT_EQ(idle.ask(get_text("/hello")).status, 200);
  waiting.send(get_text("/later"));
  EXPECT_TRUE(eventually([&] { return server.num_responders() == 1; }));
  const int port = server.port();
  std::thread drain([&] { server.server->drain(std::chrono::seconds(10)); });
  EXPECT_TRUE(idle.sees_end());
  EXPECT_FALSE(RawClient(port).is_connected());
  server.answer_responders();
  const RawResponse response = waiting.read_response();
  EXPECT_EQ(response.body, "\"late\"");
  EXPECT_EQ(response.field("Connection"), "close");
  drain.join();
  EXPECT_EQ(server.server->num_connections(), 0);
}

TEST(HttpDrainTest, TheDeadlineCutsThoseThatAreLeft) {
  HttpTestServer server;
  RawClient waiting(server.port()), stream(server.port());
  waiting.send(get_text("/later"));
  stream.send(get_text("/stream"));
  EXPECT_TRUE(eventually([&] { return server.num_responders() == 1 && server.last_stream(); }));
  server.server->drain(std::chrono::milliseconds(100));
  EXPECT_TRUE(waiting.sees_end());
  EXPECT_TRUE(stream.sees_end());
  EXPECT_EQ(server.num_gone, 2);
  server.answer_responders();  // nobody is there: nothing happens
  EXPECT_FALSE(server.last_stream()->write("late"));
}

TEST(HttpDrainTest, UnderLoadEveryRequestThatWasTakenIsAnswered) {
  HttpServerOptions options;
  options.io_threads = 2;
  HttpTestServer server(options);
  std::atomic<int> num_answered = 0, num_broken = 0;
  std::vector<std::thread> clients;
  for (int i = 0; i < 8; ++i) {
    clients.emplace_back([&] {
      for (;;) {
        RawClient client(server.port());
        if (!client.is_connected()) return;
        for (;;) {
          const RawResponse response = client.ask(get_text("/count"));
          if (response.status == 0) break;  // closed before it took the request
          response.status == 200 && response.is_whole ? ++num_answered : ++num_broken;
          if (response.field("Connection") == "close") break;
        }
      }
    });
  }
  EXPECT_TRUE(eventually([&] { return num_answered > 200; }));
  server.server->drain(std::chrono::seconds(5));
  for (auto& client : clients) client.join();
  EXPECT_EQ(num_broken, 0);
  EXPECT_EQ(num_answered, server.num_handled);
}

TEST(HttpDrainTest, StoppingWithManyConnectionsOfAllKindsIsClean) {
  for (int round = 0; round < 5; ++round) {
    HttpServerOptions options;
    options.io_threads = 2;
    HttpTestServer server(options);
    std::vector<std::unique_ptr<RawClient>> clients;
    for (int i = 0; i < 40; ++i) {
      clients.push_back(std::make_unique<RawClient>(server.port()));
      const char* const targets[] = {"/later", "/stream", "/worker", "/hello"};
      clients.back()->send(i % 5 == 4 ? "GET /ha" : get_text(targets[i % 5]));
    }
    std::thread late([&] { server.answer_responders(); });
    server.server->stop();
    late.join();
    EXPECT_EQ(server.server->num_connections(), 0);
    for (auto& client : clients) EXPECT_TRUE(client->sees_end());
  }
}

TEST(HttpDrainTest, StoppingTwiceOrBeforeTheStartIsFine) {
  HttpServer server({}, HttpRouter());
  server.stop();
  server.drain(std::chrono::seconds(1));
  EXPECT_EQ(server.port(), 0);
}

}  // namespace
}  // namespace ddpm
