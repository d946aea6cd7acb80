#include "ddpm/serving/http/http_request_parser.h"

#include <gtest/gtest.h>

#include "serving/http_status.h"

namespace ddpm {
namespace {

std::string head_with(const std::string& fields, const std::string& line = "POST / HTTP/1.1") {
  return line + "\r\nHost: a\r\n" + fields + "\r\n";
}

int head_status(const std::string& block) {
  return status_of([&] { HttpRequestParser().parse_head(block); });
}

struct ParsedBody {
  int status = 0;
  std::string body;
  size_t used = 0;
  bool is_done = false;
};

/// Parses `bytes` after a chunked head, `step` bytes more at a time.
ParsedBody chunked_body(const std::string& bytes, size_t step, uint64_t max_bytes = 1000) {
  HttpRequestParser parser({.max_chunks = 10});
  parser.parse_head(head_with("Transfer-Encoding: chunked\r\n"));
  ParsedBody parsed;
  parsed.status = status_of([&] {
    for (size_t end = 0; end < bytes.size() && !parser.is_done();) {
      end = std::min(end + step, bytes.size());
      size_t used = 1;
      while (used > 0 && !parser.is_done() && parsed.used < end) {
        used = parser.put_body(std::string_view(bytes).substr(parsed.used, end - parsed.used),
                               max_bytes);
        parsed.used += used;
      }
    }
  });
  parsed.is_done = parser.is_done();
  if (parsed.is_done) parsed.body = parser.take_body();
  return parsed;
}

TEST(HttpRequestParserTest, GivesLineAndFields) {
  HttpRequestParser parser;
  const auto head = parser.parse_head(
      head_with("X-A:  b c \r\nx-a: d\r\nContent-Length: 5\r\nExpect: 100-continue\r\n",
                "PUT /x?y=%20 HTTP/1.1"));
  EXPECT_EQ(head.method, "PUT");
  EXPECT_EQ(head.target, "/x?y=%20");
  EXPECT_EQ(*find_header(head.headers, "x-A"), "b c");
  EXPECT_EQ(head.headers.size(), 5u);
  EXPECT_EQ(head.content_length, 5u);
  EXPECT_TRUE(head.keep_alive);
  EXPECT_TRUE(head.expects_continue);
  EXPECT_EQ(parser.put_body("hello, more", 5), 5u);
  EXPECT_TRUE(parser.is_done());
  EXPECT_EQ(parser.take_body(), "hello");
}

TEST(HttpRequestParserTest, OldClientsCloseUnlessTheySayOtherwise) {
  EXPECT_FALSE(HttpRequestParser().parse_head("GET / HTTP/1.0\r\n\r\n").keep_alive);
  EXPECT_TRUE(HttpRequestParser()
                  .parse_head("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
                  .keep_alive);
  EXPECT_FALSE(HttpRequestParser().parse_head(head_with("Connection: close\r\n")).keep_alive);
}

TEST(HttpRequestParserTest, FindsTheEndOfAHead) {
  EXPECT_EQ(find_head_end("GET / HTTP/1.1\r\n\r\nmore"), 18u);
  EXPECT_EQ(find_head_end("GET / HTTP/1.1\r\n\r"), 0u);
  EXPECT_EQ(find_head_end("a\n\nb"), 3u);
  EXPECT_EQ(find_head_end("a\r\nb\r\n"), 0u);
}

TEST(HttpRequestParserTest, WhatProxiesReadDifferentlyIsRefused) {
  for (const std::string& fields : std::vector<std::string>{
           std::string("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n"),
           std::string("Transfer-Encoding: chunked\r\nContent-Length: 5\r\n"),
           std::string("Content-Length: 5\r\nContent-Length: 5\r\n"),
           std::string("Content-Length: 5\r\nContent-Length: 6\r\n"),
           std::string("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n"),
           std::string("Content-Length: +5\r\n"),
           std::string("Content-Length: 5,5\r\n"),
           std::string("Content-Length: 0x5\r\n"),
           std::string("Content-Length: -1\r\n"),
           std::string("Content-Length: 99999999999999999999\r\n"),
           std::string("Host: b\r\n"),
           std::string("A: b\r\n folded\r\n"),
           std::string("A: b\r\n\tfolded\r\n"),
           std::string(" A: b\r\n"),
           std::string("A : b\r\n"),
           std::string("A: b\nC: d\r\n"),
           std::string("A: b\rC: d\r\n"),
           std::string("A: b\0\r\n", 7),
           std::string("A: \x01\r\n"),
           std::string("no colon\r\n"),
           std::string(": b\r\n"),
           std::string("A\xff: b\r\n")}) {
    EXPECT_EQ(head_status(head_with(fields)), 400) << fields;
  }
}

TEST(HttpRequestParserTest, EachRefusalHasItsStatus) {
  EXPECT_EQ(head_status(head_with("Transfer-Encoding: gzip\r\n")), 501);
  EXPECT_EQ(head_status(head_with("Transfer-Encoding: gzip, chunked\r\n")), 501);
  EXPECT_EQ(head_status("POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n"), 400);
  EXPECT_EQ(head_status(head_with("Content-Encoding: gzip\r\n")), 415);
  EXPECT_EQ(head_status(head_with("Content-Encoding: identity\r\n")), 0);
  EXPECT_EQ(head_status(head_with("Expect: cake\r\n")), 417);
  EXPECT_EQ(head_status(head_with("", "GET / HTTP/2.0")), 505);
  EXPECT_EQ(head_status(head_with("", "GET / HTTP/1.2")), 505);
  EXPECT_EQ(head_status(head_with("A: " + std::string(16384, 'a') + "\r\n")), 431);
  std::string many;
  for (int i = 0; i < 99; ++i) many += "a:b\r\n";
  EXPECT_EQ(head_status(head_with(many)), 0);
  EXPECT_EQ(head_status(head_with(many + "a:b\r\n")), 431);
}

TEST(HttpRequestParserTest, LinesThatArentRequestsAreRefused) {
  for (const char* line :
       {"GET /", "GET  / HTTP/1.1", "GET / HTTP/1.1 ", " GET / HTTP/1.1", "GET / http/1.1",
        "G T / HTTP/1.1", "GET / HTTP/11", "\x16\x03\x01", "GET /\t HTTP/1.1", "GET"}) {
    EXPECT_NE(head_status(head_with("", line)), 0) << line;
  }
}

TEST(HttpRequestParserTest, ChunkedBodiesArriveInAnyPieces) {
  const std::string bytes = "5\r\nhello\r\n6;x=y\r\n world\r\n0\r\nTrailer: t\r\n\r\n";
  for (size_t step : {size_t{1}, size_t{2}, size_t{7}, bytes.size()}) {
    const ParsedBody parsed = chunked_body(bytes, step);
    EXPECT_EQ(parsed.status, 0) << step;
    EXPECT_EQ(parsed.body, "hello world") << step;
    EXPECT_EQ(parsed.used, bytes.size()) << step;
  }
  EXPECT_EQ(chunked_body(bytes + "GET / HTTP/1.1\r\n", 1000).used, bytes.size());
}

TEST(HttpRequestParserTest, BadChunksAreRefused) {
  for (const char* bytes : {"x\r\n", "-1\r\nabc", "5\r\nhelloX0\r\n\r\n", "fffffffffffffffff\r\n",
                            "\r\n\r\n", "0x5\r\nhello\r\n0\r\n\r\n", "5 \r\nhello\r\n0\r\n\r\n"}) {
    const ParsedBody parsed = chunked_body(bytes, 1000);
    EXPECT_TRUE(parsed.status == 400 || parsed.status == 413) << bytes << parsed.status;
  }
  EXPECT_EQ(chunked_body("1;" + std::string(300, 'e') + "\r\na\r\n", 1000).status, 400);
}

TEST(HttpRequestParserTest, BodiesAndChunksAreBounded) {
  EXPECT_EQ(chunked_body("5\r\nhello\r\n0\r\n\r\n", 1000, 5).status, 0);
  EXPECT_EQ(chunked_body("5\r\nhello\r\n1\r\na\r\n0\r\n\r\n", 1000, 5).status, 413);
  EXPECT_EQ(chunked_body("ffffffffffffffff\r\n", 1000).status, 413);
  std::string many;
  for (int i = 0; i < 9; ++i) many += "1\r\na\r\n";
  EXPECT_EQ(chunked_body(many + "0\r\n\r\n", 1000).status, 0);
  EXPECT_EQ(chunked_body(many + "1\r\na\r\n0\r\n\r\n", 1000).status, 413);
  HttpRequestParser parser;
  parser.parse_head(head_with("Content-Length: 6\r\n"));
  EXPECT_EQ(status_of([&] { parser.put_body("a", 5); }), 413);
}

}  // namespace
}  // namespace ddpm
