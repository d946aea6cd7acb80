#include "ddpm/serving/http/http_payload.h"

#include <gtest/gtest.h>

#include <fstream>
#include <sys/stat.h>

#include "ddpm/serving/http/http_response_head.h"
#include "serving/http_status.h"

namespace ddpm {
namespace {

using Kind = ByteRange::Kind;

HttpPayload payload_of(const HttpHeaders& fields, HttpMethod method = HttpMethod::kGet,
                       const std::string& body = "0123456789") {
  HttpRequest request;
  request.method = method;
  request.headers = fields;
  HttpResponse response;
  response.body = body;
  response.media_type = "text/plain";
  response.etag = "\"tag\"";
  GzipCache cache;
  return make_payload(request, response, cache);
}

std::string field_of(const HttpPayload& payload, const std::string& name) {
  const std::string* const value = find_header(payload.headers, name);
  return value == nullptr ? "" : *value;
}

TEST(HttpPayloadTest, RangesFollowTheRfc) {
  const auto expect_range = [](const char* text, Kind kind, uint64_t first, uint64_t last) {
    const ByteRange range = parse_byte_range(text, 10);
    EXPECT_EQ(range.kind, kind) << text;
    EXPECT_EQ(range.first, first) << text;
    EXPECT_EQ(range.last, last) << text;
  };
  expect_range("bytes=0-0", Kind::kPart, 0, 0);
  expect_range("bytes=2-", Kind::kPart, 2, 9);
  expect_range("bytes=2-99999999999999999", Kind::kPart, 2, 9);
  expect_range("bytes=-3", Kind::kPart, 7, 9);
  expect_range("bytes=-30", Kind::kPart, 0, 9);
  for (const char* text : {"bytes=10-", "bytes=10-20", "bytes=-0"}) {
    expect_range(text, Kind::kUnsatisfiable, 0, 0);
  }
  for (const char* text : {"", "bytes=", "bytes=-", "bytes=a-b", "bytes=3-2", "bytes=0-1,3-4",
                           "lines=0-1", "bytes=+1-2", "bytes=99999999999999999999-", "bytes 0-1"}) {
    expect_range(text, Kind::kAll, 0, 0);
  }
  EXPECT_EQ(parse_byte_range("bytes=-1", 0).kind, Kind::kUnsatisfiable);
}

TEST(HttpPayloadTest, AnswersOneRange) {
  const HttpPayload part = payload_of({{"Range", "bytes=2-4"}});
  EXPECT_EQ(part.status, 206);
  EXPECT_EQ(part.first, 2u);
  EXPECT_EQ(part.length, 3u);
  EXPECT_EQ(field_of(part, "Content-Range"), "bytes 2-4/10");
  EXPECT_EQ(payload_of({{"Range", "bytes=0-1,3-4"}}).status, 200);
  EXPECT_EQ(payload_of({{"Range", "bytes=2-4"}, {"If-Range", "\"other\""}}).status, 200);
  EXPECT_EQ(payload_of({{"Range", "bytes=2-4"}, {"If-Range", "\"tag\""}}).status, 206);
  const HttpPayload none = payload_of({{"Range", "bytes=20-"}});
  EXPECT_EQ(none.status, 416);
  EXPECT_EQ(none.length, 0u);
  EXPECT_EQ(field_of(none, "Content-Range"), "bytes */10");
}

TEST(HttpPayloadTest, KnownTagsNeedNoBody) {
  for (const char* tags : {"\"tag\"", "*", "\"a\", W/\"tag\"", "\"tag-gz\""}) {
    const HttpPayload payload = payload_of({{"If-None-Match", tags}});
    EXPECT_EQ(payload.status, 304) << tags;
    EXPECT_FALSE(payload.has_body) << tags;
    EXPECT_EQ(field_of(payload, "ETag"), "\"tag\"");
  }
  EXPECT_EQ(payload_of({{"If-None-Match", "\"other\""}}).status, 200);
  EXPECT_EQ(payload_of({{"If-None-Match", "*"}}, HttpMethod::kPost).status, 200);
}

TEST(HttpPayloadTest, HeadSaysTheLengthWithoutABody) {
  const HttpPayload payload = payload_of({}, HttpMethod::kHead);
  EXPECT_EQ(payload.status, 200);
  EXPECT_EQ(payload.length, 10u);
  EXPECT_FALSE(payload.has_body);
}

TEST(HttpPayloadTest, CompressesLongTextForThoseWhoTakeIt) {
  const std::string text(5000, 'a');
  const HttpPayload payload = payload_of({{"Accept-Encoding", "gzip"}}, HttpMethod::kGet, text);
  EXPECT_EQ(field_of(payload, "Content-Encoding"), "gzip");
  EXPECT_EQ(field_of(payload, "Vary"), "Accept-Encoding");
  EXPECT_EQ(field_of(payload, "ETag"), "\"tag-gz\"");
  EXPECT_LT(payload.length, 200u);
  EXPECT_EQ(payload.length, payload.bytes->size());
  EXPECT_EQ(field_of(payload_of({}, HttpMethod::kGet, text), "Content-Encoding"), "");
  EXPECT_EQ(field_of(payload_of({{"Accept-Encoding", "gzip"}}), "Content-Encoding"), "");
}

TEST(HttpPayloadTest, FilesAreReadInPieces) {
  const std::string path = testing::TempDir() + "/body";
  std::ofstream(path) << "0123456789";
  const OpenFile file(path);
  EXPECT_EQ(file.size_bytes(), 10u);
  EXPECT_EQ(file.read(3, 4), "3456");
  EXPECT_EQ(file.read(8, 4), "89");
  EXPECT_EQ(status_of([&] { OpenFile(path + "-absent"); }), 404);
  EXPECT_EQ(status_of([] { OpenFile(testing::TempDir()); }), 404);
  const std::string pipe = testing::TempDir() + "/pipe";
  ::mkfifo(pipe.c_str(), 0600);
  EXPECT_EQ(status_of([&] { OpenFile{pipe}; }), 404);  // and doesn't wait for a writer
}

TEST(HttpResponseHeadTest, SaysDateAndWhatKeepsBrowsersSafe) {
  HttpPayload payload;
  payload.headers = {{"Content-Type", "text/html; charset=utf-8"}};
  const std::string head =
      response_head(payload, {.request_id = "abc", .page_policy = "default-src 'self'"});
  for (const char* line :
       {"HTTP/1.1 200 OK\r\n", "\r\nDate: ", "\r\nX-Content-Type-Options: nosniff\r\n",
        "\r\nX-Frame-Options: DENY\r\n", "\r\nReferrer-Policy: no-referrer\r\n",
        "\r\nContent-Security-Policy: default-src 'self'\r\n", "\r\nX-Request-Id: abc\r\n",
        "\r\nContent-Length: 0\r\n", "\r\nCache-Control: no-store\r\n"}) {
    EXPECT_NE(head.find(line), head.npos) << line;
  }
  payload.headers = {{"Content-Type", "image/png"}};
  EXPECT_NE(response_head(payload, {}).find("Policy: default-src 'none'"), head.npos);
  EXPECT_EQ(http_date(784111777), "Sun, 06 Nov 1994 08:49:37 GMT");
}

TEST(HttpResponseHeadTest, FieldsCantEndTheirLine) {
  for (const HttpHeaders& fields :
       {HttpHeaders{{"A", "b\r\nSet-Cookie: c"}}, HttpHeaders{{"A\n", "b"}}, HttpHeaders{{"", "b"}},
        HttpHeaders{{"A", std::string("b\0", 2)}}, HttpHeaders{{"A b", "c"}}}) {
    HttpPayload payload;
    payload.headers = fields;
    EXPECT_THROW(response_head(payload, {}), std::invalid_argument);
  }
}

}  // namespace
}  // namespace ddpm
