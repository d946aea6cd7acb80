// Streams over real connections.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "serving/http_test_server.h"

namespace ddpm {
namespace {

std::shared_ptr<HttpStream> open_stream(HttpTestServer& server, RawClient& client) {
  const auto before = server.last_stream();
  client.send(get_text("/stream"));
  EXPECT_TRUE(eventually([&] { return server.last_stream() != before; }));
  return server.last_stream();
}

TEST(HttpStreamingTest, EventsArriveAsTheyAreWritten) {
  HttpTestServer server;
  RawClient client(server.port());
  const auto stream = open_stream(server, client);
  std::thread writer([&] {
    for (int i = 0; i < 20; ++i) stream->write(sse_event("progress", std::to_string(i)));
    stream->close();
  });
  const RawResponse response = client.read_response();
  writer.join();
  EXPECT_EQ(response.status, 200);
  EXPECT_EQ(response.field("Content-Type"), "text/event-stream");
  EXPECT_TRUE(response.is_whole);
  std::string expected;
  for (int i = 0; i < 20; ++i) expected += sse_event("progress", std::to_string(i));
  EXPECT_EQ(response.body, expected);
  EXPECT_EQ(client.ask(get_text("/hello")).body, "hello");  // the connection goes on
  EXPECT_EQ(server.num_gone, 0);
}

TEST(HttpStreamingTest, SilentStreamsArePinged) {
  HttpTestServer server;
  RawClient client(server.port());
  const auto stream = open_stream(server, client);
  EXPECT_TRUE(client.receive_until(": ping\n\n"));
  stream->close();
}

TEST(HttpStreamingTest, OldClientsGetTheBytesAlone) {
  HttpTestServer server;
  RawClient client(server.port());
  client.send("GET /stream HTTP/1.0\r\n\r\n");
  EXPECT_TRUE(eventually([&] { return server.last_stream() != nullptr; }));
  server.last_stream()->write("abc");
  server.last_stream()->close();
  const RawResponse response = client.read_response();
  EXPECT_EQ(response.body, "abc");
  EXPECT_TRUE(response.is_whole);
  EXPECT_EQ(response.field("Transfer-Encoding"), "");
}

TEST(HttpStreamingTest, HeadEndsTheStream) {
  HttpTestServer server;
  RawClient client(server.port());
  EXPECT_EQ(client.ask("HEAD /stream HTTP/1.1\r\nHost: localhost\r\n\r\n", false).status, 200);
  EXPECT_TRUE(eventually([&] { return server.num_gone == 1; }));
  EXPECT_EQ(client.ask(get_text("/hello")).body, "hello");
}

TEST(HttpStreamingTest, TheWriterLearnsThatTheReaderLeft) {
  HttpTestServer server;
  for (int i = 0; i < 2; ++i) {
    RawClient client(server.port());
    const auto stream = open_stream(server, client);
    stream->write("data: 1\n\n");
    EXPECT_TRUE(client.receive_until("data: 1"));
    i == 0 ? client.reset() : client.close();
    EXPECT_TRUE(eventually([&] { return server.num_gone == i + 1; }));
    EXPECT_FALSE(stream->write("data: 2\n\n"));
  }
}

TEST(HttpStreamingTest, ASlowReaderIsDroppedAndTheWriterNeverWaits) {
  HttpTestServer server;
  const int64_t before = resident_kib();
  RawClient slow(server.port(), 4096), quick(server.port());
  const auto stream = open_stream(server, slow);
  const std::string event = sse_event("preview", std::string(10'000, 'a'));
  int num_written = 0;
  const bool is_dropped = eventually([&] { return !stream->write(event) || ++num_written > 2000; });
  EXPECT_TRUE(is_dropped);
  EXPECT_LT(num_written, 500);
  EXPECT_TRUE(eventually([&] { return server.num_gone == 1; }));
  EXPECT_EQ(server.metrics.counter("ddpm_http_streams_dropped_total", "").value(), 1);
  EXPECT_EQ(quick.ask(get_text("/hello")).body, "hello");
  EXPECT_LT(resident_kib() - before, 64 << 10);
}

TEST(HttpStreamingTest, ASlowReaderWhoNeedsOnlyTheLatestIsKept) {
  HttpTestServer server;
  RawClient slow(server.port(), 4096);
  const auto stream = open_stream(server, slow);
  const std::string padding(10'000, 'a');
  for (int i = 0; i < 2000; ++i) {
    EXPECT_TRUE(
        stream->write_latest("progress", sse_event("progress", std::to_string(i) + padding)));
  }
  stream->close();
  const RawResponse response = slow.read_response();
  EXPECT_TRUE(response.is_whole);
  EXPECT_NE(response.body.find("data: 1999a"), response.body.npos);
  EXPECT_LT(response.body.size(), 2000u * padding.size() / 2);
}

TEST(HttpStreamingTest, ManyStreamsLeaveOrdinaryRequestsQuick) {
  HttpTestServer server;
  std::vector<std::unique_ptr<RawClient>> clients;
  for (int i = 0; i < 100; ++i) {
    clients.push_back(std::make_unique<RawClient>(server.port()));
    clients.back()->send(get_text("/stream"));
  }
  for (int i = 0; i < 20; ++i) EXPECT_EQ(server.ask(get_text("/hello")).status, 200);
}

}  // namespace
}  // namespace ddpm
