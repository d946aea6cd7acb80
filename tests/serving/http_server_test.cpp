#include "ddpm/serving/http/http_server.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "serving/http_test_server.h"

namespace ddpm {
namespace {

using testing::HasSubstr;
using testing::Not;

TEST(HttpServerTest, AnswersGetHeadAndPost) {
  const HttpTestServer server;
  RawClient client(server.port());
  const RawResponse hello = client.ask(get_text("/hello"));
  EXPECT_EQ(hello.status, 200);
  EXPECT_EQ(hello.body, "hello");
  EXPECT_EQ(hello.field("Content-Type"), "text/plain");
  EXPECT_EQ(hello.field("X-Content-Type-Options"), "nosniff");
  EXPECT_NE(hello.field("Date"), "");
  const RawResponse head = client.ask("HEAD /hello HTTP/1.1\r\nHost: localhost\r\n\r\n", false);
  EXPECT_EQ(head.status, 200);
  EXPECT_EQ(head.field("Content-Length"), "5");
  EXPECT_EQ(client.ask(post_text("/json", "{\"a\":1}")).body, "{\"a\":1}");
  const std::string chunked =
      "POST /json HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json; charset=utf-8\r\n"
      "Transfer-Encoding: chunked\r\n\r\n3\r\n[1,\r\n2\r\n2]\r\n0\r\n\r\n";
  EXPECT_EQ(client.ask(chunked).body, "[1,2]");
  EXPECT_EQ(server.server->num_connections(), 1);
}

TEST(HttpServerTest, HandlersSeeWhatTheClientSent) {
  const HttpTestServer server;
  const std::string trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
  const RawResponse echo = server.ask(
      get_text("/echo/a%20b?q=x+y", "traceparent: " + trace + "\r\nX-Request-Id: my-id\r\n"));
  EXPECT_EQ(echo.body, "a b|x y|127.0.0.1|" + trace);
  EXPECT_EQ(echo.field("X-Request-Id"), "my-id");
  const auto is_logged = [&] { return server.log().find("id=\"my-id\"") != std::string::npos; };
  EXPECT_TRUE(eventually(is_logged));
}

TEST(HttpServerTest, PipelinedRequestsAreAnsweredInOrder) {
  HttpTestServer server;
  RawClient client(server.port());
  std::string requests;
  for (int i = 0; i < 100; ++i) {
    requests += get_text("/echo/" + std::to_string(i)) + post_text("/json", std::to_string(i));
  }
  requests += get_text("/worker") + "\r\n" + get_text("/hello", "Connection: close\r\n");
  std::thread sender([&] { client.send(requests); });
  for (int i = 0; i < 100; ++i) {
    EXPECT_THAT(client.read_response().body, HasSubstr(std::to_string(i) + "||"));
    EXPECT_EQ(client.read_response().body, std::to_string(i));
  }
  EXPECT_EQ(client.read_response().body, "worked");
  EXPECT_EQ(client.read_response().body, "hello");
  EXPECT_TRUE(client.sees_end());
  sender.join();
}

TEST(HttpServerTest, RefusalsNameWhatIsWrong) {
  const HttpTestServer server;
  EXPECT_EQ(server.ask(get_text("/nothing")).status, 404);
  const RawResponse method = server.ask(get_text("/json"));
  EXPECT_EQ(method.status, 405);
  EXPECT_EQ(method.field("Allow"), "POST");
  const RawResponse trace = server.ask("TRACE /json HTTP/1.1\r\nHost: localhost\r\n\r\n");
  EXPECT_EQ(trace.status, 405) << "a method that HTTP knows";
  EXPECT_EQ(trace.field("Allow"), "POST");
  EXPECT_EQ(server.ask("BREW /hello HTTP/1.1\r\nHost: localhost\r\n\r\n").status, 501);
  EXPECT_EQ(server.ask("GET /hello HTTP/1.1\r\n\r\n").status, 400);
  EXPECT_EQ(server.ask("GET http://localhost/hello HTTP/1.1\r\nHost: localhost\r\n\r\n").status,
            400);
  EXPECT_EQ(server.ask("CONNECT a:1 HTTP/1.1\r\nHost: localhost\r\n\r\n").status, 501);
  EXPECT_EQ(server.ask("POST /json HTTP/1.1\r\nHost: localhost\r\n\r\n").status, 411);
  EXPECT_EQ(
      server.ask("POST /json HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\n\r\n1").status,
      415);
  EXPECT_EQ(server.ask(get_text("/hello", "Content-Length: 1\r\n") + "x").status, 413);
  EXPECT_EQ(server.ask("GET /hello HTTP/3.0\r\nHost: localhost\r\n\r\n").status, 505);
  const RawResponse error = server.ask(get_text("/nothing", "X-Request-Id: abc\r\n"));
  EXPECT_EQ(nlohmann::json::parse(error.body)["error"]["request_id"], "abc");
  EXPECT_EQ(nlohmann::json::parse(error.body)["error"]["code"], "not_found");
}

TEST(HttpServerTest, ErrorsOfHandlersShowNoInternals) {
  const HttpTestServer server;
  RawClient client(server.port());
  EXPECT_EQ(client.ask(get_text("/throw/http")).status, 422);
  const RawResponse argument = client.ask(get_text("/throw/argument"));
  EXPECT_EQ(argument.status, 400);
  EXPECT_THAT(argument.body, HasSubstr("expected b, got c"));
  for (const char* target : {"/throw/other", "/throw/field"}) {
    const RawResponse other = client.ask(get_text(target));
    EXPECT_EQ(other.status, 500) << target;
    EXPECT_THAT(other.body, Not(HasSubstr("secret")));
  }
  EXPECT_EQ(client.ask(get_text("/missing")).status, 404);
  EXPECT_EQ(client.ask(get_text("/hello")).status, 200);
}

TEST(HttpServerTest, AWrongKeyOpensNoRouteThatNeedsOne) {
  HttpServerOptions options;
  options.keys = {kTestKey};
  const HttpTestServer server(options);
  RawClient client(server.port());
  for (const std::string& fields : std::vector<std::string>{
           std::string(), std::string("Authorization: Bearer wrong-key-0123456789\r\n"),
           std::string("X-Api-Key: \r\n"), std::string("Authorization: Basic dGVzdA==\r\n")}) {
    for (const std::string& request : std::vector<std::string>{
             get_text("/secret", fields), "HEAD" + get_text("/secret", fields).substr(3)}) {
      const RawResponse refused = client.ask(request, request.starts_with("GET"));
      EXPECT_EQ(refused.status, 401);
      EXPECT_EQ(refused.field("WWW-Authenticate"), "Bearer");
    }
    EXPECT_EQ(server.ask(post_text("/json", "{}", fields)).status, 401);
    EXPECT_EQ(server.ask(post_text("/upload", "{}", fields)).status, 401);
  }
  EXPECT_EQ(client.ask(get_text("/secret", "X-Api-Key: " + kTestKey + "\r\n")).body, "secret");
  EXPECT_EQ(client.ask(get_text("/secret", "Authorization: Bearer " + kTestKey + "\r\n")).status,
            200);
  EXPECT_EQ(client.ask(get_text("/hello")).status, 200);
  EXPECT_TRUE(eventually([&] { return server.log().find("key=0") != std::string::npos; }));
  EXPECT_THAT(server.log(), Not(HasSubstr(kTestKey)));
}

TEST(HttpServerTest, ListeningElsewhereNeedsAKey) {
  for (const char* address : {"0.0.0.0", "::", "192.168.1.2", "example.org"}) {
    HttpServerOptions options;
    options.address = address;
    EXPECT_THROW(HttpServer(options, HttpRouter()), std::invalid_argument) << address;
    options.keys = {kTestKey};
    EXPECT_NO_THROW(HttpServer(options, HttpRouter())) << address;
  }
  HttpServerOptions options;
  options.tls_certificate = "a";
  EXPECT_THROW(HttpServer(options, HttpRouter()), std::invalid_argument);
}

TEST(HttpServerTest, APortThatIsTakenIsNamed) {
  const HttpTestServer first;
  HttpServerOptions options;
  options.port = first.port();
  HttpServer second(options, HttpRouter());
  try {
    second.start();
    FAIL() << "started";
  } catch (const std::runtime_error& error) {
    EXPECT_THAT(error.what(), HasSubstr("127.0.0.1:" + std::to_string(first.port())));
  }
}

TEST(HttpServerTest, PagesOfOtherSitesCantReachALocalServer) {
  HttpServerOptions options;
  options.allowed_origins = {"https://studio.example"};
  const HttpTestServer server(options);
  EXPECT_EQ(server.ask("GET /hello HTTP/1.1\r\nHost: evil.example\r\n\r\n").status, 421);
  EXPECT_EQ(server.ask(post_text("/json", "{}", "Origin: https://evil.example\r\n")).status, 403);
  EXPECT_EQ(server.ask(post_text("/json", "{}", "Origin: null\r\n")).status, 403);
  EXPECT_EQ(server.ask(post_text("/json", "{}", "Origin: http://localhost\r\n")).status, 200);
  const RawResponse allowed =
      server.ask(post_text("/json", "{}", "Origin: https://studio.example\r\n"));
  EXPECT_EQ(allowed.field("Access-Control-Allow-Origin"), "https://studio.example");
  EXPECT_EQ(allowed.field("Access-Control-Allow-Credentials"), "");
  const std::string preflight =
      "OPTIONS /json HTTP/1.1\r\nHost: localhost\r\nAccess-Control-Request-Method: "
      "POST\r\nOrigin: ";
  const RawResponse answer = server.ask(preflight + "https://studio.example\r\n\r\n");
  EXPECT_EQ(answer.status, 204);
  EXPECT_EQ(answer.field("Access-Control-Allow-Methods"), "POST");
  EXPECT_THAT(answer.field("Access-Control-Allow-Headers"), HasSubstr("authorization"));
  const RawResponse refused = server.ask(preflight + "https://evil.example\r\n\r\n");
  EXPECT_EQ(refused.field("Access-Control-Allow-Origin"), "");
}

TEST(HttpServerTest, CompressionTagsAndRangesWorkTogether) {
  const HttpTestServer server({}, true);
  RawClient client(server.port());
  const RawResponse zipped = client.ask(get_text("/page", "Accept-Encoding: gzip\r\n"));
  EXPECT_EQ(zipped.field("Content-Encoding"), "gzip");
  EXPECT_LT(zipped.body.size(), 200u);
  EXPECT_THAT(zipped.field("Content-Security-Policy"), HasSubstr("frame-ancestors 'none'"));
  EXPECT_EQ(client.ask(get_text("/page", "If-None-Match: " + zipped.field("ETag") + "\r\n")).status,
            304);
  for (const char* target : {"/big", "/file"}) {
    EXPECT_EQ(client.ask(get_text(target)).body.size(), 4u << 20) << target;
    const RawResponse part = client.ask(get_text(target, "Range: bytes=100-200099\r\n"));
    EXPECT_EQ(part.status, 206);
    EXPECT_EQ(part.body, std::string(200'000, 'b'));
    EXPECT_EQ(client.ask(get_text(target, "Range: bytes=9999999-\r\n")).status, 416);
  }
}

TEST(HttpServerTest, OldClientsAreAnsweredAndLeft) {
  const HttpTestServer server;
  RawClient client(server.port());
  const RawResponse hello = client.ask("GET /hello HTTP/1.0\r\n\r\n");
  EXPECT_EQ(hello.body, "hello");
  EXPECT_EQ(hello.field("Connection"), "close");
  EXPECT_TRUE(client.sees_end());
}

TEST(HttpServerTest, ExpectContinueIsAnsweredOnlyIfTheBodyWillBeTaken) {
  const HttpTestServer server;
  RawClient client(server.port());
  const std::string head =
      "POST /upload HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/octet-stream\r\n"
      "Expect: 100-continue\r\nContent-Length: ";
  client.send(head + "5\r\n\r\n");
  EXPECT_TRUE(client.receive_until("HTTP/1.1 100 Continue\r\n\r\n"));
  client.read_response(false);
  EXPECT_EQ(client.ask("hello").body, "5");
  EXPECT_EQ(client.ask(head + "99999999\r\n\r\n").status, 413);
}

TEST(HttpServerTest, RequestsAreCountedByRouteAndNotByPath) {
  HttpTestServer server;
  for (int i = 0; i < 3; ++i) server.ask(get_text("/echo/" + std::to_string(i)));
  server.ask(get_text("/x\x1by"));
  EXPECT_TRUE(eventually([&] { return server.server->num_connections() == 0; }));
  const std::string text = server.metrics.prometheus_text();
  EXPECT_THAT(text, HasSubstr("ddpm_http_requests_total{route=\"/echo/{name}\",code=\"200\"} 3\n"));
  EXPECT_THAT(text, HasSubstr("ddpm_http_requests_total{route=\"none\",code=\"400\"} 1\n"));
  EXPECT_THAT(text, HasSubstr("ddpm_http_connections 0\n"));
  EXPECT_THAT(server.log(), Not(HasSubstr("\x1b")));
}

}  // namespace
}  // namespace ddpm
