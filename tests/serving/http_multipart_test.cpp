#include "ddpm/serving/http/http_multipart.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "ddpm/serving/http/http_media_type.h"
#include "serving/http_status.h"

namespace ddpm {
namespace {

constexpr char kType[] = "multipart/form-data; boundary=XY";

std::string part_text(const std::string& fields, const std::string& body) {
  return "--XY\r\nContent-Disposition: form-data; " + fields + "\r\n\r\n" + body + "\r\n";
}

int multipart_status(const std::string& body, const std::string& type = kType) {
  return status_of([&] { parse_multipart(type, body); });
}

TEST(HttpMultipartTest, GivesFieldsAndFiles) {
  const std::string bytes("\x89PNG\r\n--X\r\n\0", 12);
  const std::string body = part_text("name=\"t\"", "[1,2]") +
                           part_text(
                               "name=\"image\"; filename=\"a \\\"b\\\".png\"\r\n"
                               "Content-Type: image/PNG; q=1",
                               bytes) +
                           "--XY--\r\n";
  const auto parts = parse_multipart(kType, body);
  ASSERT_EQ(parts.size(), 2u);
  EXPECT_EQ(parts[0].name, "t");
  EXPECT_EQ(parts[0].body, "[1,2]");
  EXPECT_EQ(parts[0].filename, std::nullopt);
  EXPECT_EQ(parts[0].media_type, "text/plain");
  EXPECT_EQ(parts[1].filename, "a \"b\".png");
  EXPECT_EQ(parts[1].media_type, "image/png");
  EXPECT_EQ(parts[1].body, bytes);
}

TEST(HttpMultipartTest, EmptyBodiesAndQuotedBoundariesAreFine) {
  EXPECT_EQ(parse_multipart("Multipart/Form-Data; charset=utf-8; boundary=\"a b\"",
                            "--a b\r\nContent-Disposition: form-data; name=x\r\n\r\n\r\n--a b--")[0]
                .body,
            "");
  EXPECT_TRUE(parse_multipart(kType, "--XY--").empty());
}

TEST(HttpMultipartTest, OtherTypesAndBadBoundariesAreRefused) {
  EXPECT_EQ(multipart_status("", "application/json"), 415);
  for (const char* type :
       {"multipart/form-data", "multipart/form-data; boundary=",
        "multipart/form-data; boundary=\"a\x01\"", "multipart/form-data; boundary=a; boundary=b"}) {
    EXPECT_EQ(multipart_status("--XY--", type), 400) << type;
  }
  EXPECT_EQ(multipart_status("--XY--", "multipart/form-data; boundary=" + std::string(71, 'a')),
            400);
}

TEST(HttpMultipartTest, MalformedBodiesAreRefused) {
  const std::string part = part_text("name=\"a\"", "1");
  for (const std::string& body : std::vector<std::string>{
           std::string(), std::string("--XY"), "x" + part + "--XY--", part, part + "--XY",
           part + "--XYZ\r\n", std::string("--XY\n\n--XY--"),
           part_text("filename=\"a\"", "1") + "--XY--",
           "--XY\r\nContent-Type: a/b\r\n\r\n1\r\n--XY--", "--XY\r\nno colon\r\n\r\n1\r\n--XY--",
           part + part + "--XY--", part_text("name=\"\xff\"", "1") + "--XY--",
           part_text("name=\"a\"\r\nContent-Transfer-Encoding: base64", "1") + "--XY--",
           part_text("name=\"a\"\r\nContent-Disposition: form-data; name=\"b\"", "1") + "--XY--",
           part_text("name=\"a\"\r\nX: " + std::string(5000, 'x'), "1") + "--XY--"}) {
    EXPECT_EQ(multipart_status(body), 400) << body.substr(0, 200);
  }
}

TEST(HttpMultipartTest, TooManyPartsAreRefused) {
  std::string body;
  for (int i = 0; i < 64; ++i) body += part_text("name=\"n" + std::to_string(i) + "\"", "");
  EXPECT_EQ(multipart_status(body + "--XY--"), 0);
  EXPECT_EQ(multipart_status(body + part_text("name=\"z\"", "") + "--XY--"), 413);
}

TEST(HttpMediaTypeTest, ReadsTypeAndParameters) {
  const HttpMediaType type = parse_media_type(" Text/HTML ;Charset=UTF-8 ; q=\"a;\\\"b\\c\" ;");
  EXPECT_EQ(type.type, "text/html");
  EXPECT_EQ(type.parameters.at("charset"), "UTF-8");
  EXPECT_EQ(type.parameters.at("q"), "a;\"b\\c");
}

TEST(HttpMediaTypeTest, MalformedOnesAreRefused) {
  for (const char* text : {"", ";", "a; b", "a; =b", "a; b=\"c", "a; b=\"c\"d", "a; b=1; B=2"}) {
    EXPECT_EQ(status_of([&] { parse_media_type(text); }), 400) << text;
  }
}

}  // namespace
}  // namespace ddpm
