#include "ddpm/serving/http/http_target.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "ddpm/serving/http/http_message.h"
#include "serving/http_status.h"

namespace ddpm {
namespace {

using testing::ElementsAre;
using testing::Pair;

int target_status(const std::string& target) {
  return status_of([&] { parse_http_target(target); });
}

TEST(HttpTargetTest, SplitsPathAndQueryAndDecodesThem) {
  const HttpTarget target = parse_http_target("/v1/jobs/a%20b?limit=5&after=x%26y+z&flag");
  EXPECT_EQ(target.path, "/v1/jobs/a b");
  EXPECT_THAT(target.segments, ElementsAre("v1", "jobs", "a b"));
  EXPECT_THAT(target.query,
              ElementsAre(Pair("after", "x&y z"), Pair("flag", ""), Pair("limit", "5")));
}

TEST(HttpTargetTest, TheRootHasOneEmptySegment) {
  EXPECT_THAT(parse_http_target("/").segments, ElementsAre(""));
  EXPECT_THAT(parse_http_target("/?").query, ElementsAre());
  EXPECT_EQ(parse_http_target("/a//b").path, "/a//b");
}

TEST(HttpTargetTest, TraversalIsRefusedHoweverItIsWritten) {
  for (const char* target :
       {"/../etc/passwd", "/a/..", "/a/%2e%2e/b", "/a/.%2E/b", "/./a", "/a/%2e", "/a%2f..%2fb",
        "/a%5c..%5cb", "/a\\..\\b", "/%00", "/a%0d%0aSet-Cookie:x", "/a%7f"}) {
    EXPECT_EQ(target_status(target), 400) << target;
  }
}

TEST(HttpTargetTest, OtherFormsAreRefused) {
  for (const char* target : {"", "http://host/", "*", "host:80", "a/b", "/a#b"}) {
    EXPECT_EQ(target_status(target), 400) << target;
  }
}

TEST(HttpTargetTest, BrokenEncodingsAreRefused) {
  for (const char* target : {"/%", "/%4", "/%zz", "/a?b=%", "/%ff", "/%c0%af", "/?a=%ed%a0%80"}) {
    EXPECT_EQ(target_status(target), 400) << target;
  }
  EXPECT_EQ(parse_http_target("/%E2%82%AC").path, "/\u20ac");
}

TEST(HttpTargetTest, QueriesAreBounded) {
  std::string query = "/?";
  for (int i = 0; i < 64; ++i) query += "n" + std::to_string(i) + "=1&";
  EXPECT_EQ(parse_http_target(query).query.size(), 64u);
  EXPECT_EQ(target_status(query + "more=1"), 400);
  EXPECT_EQ(target_status("/?a=1&a=2"), 400);
  EXPECT_EQ(target_status("/" + std::string(4096, 'a')), 414);
  EXPECT_EQ(target_status("/" + std::string(4095, 'a')), 0);
}

TEST(HttpTargetTest, Utf8IsStrict) {
  EXPECT_TRUE(is_utf8("\xf4\x8f\xbf\xbf"));
  for (const char* bytes : {"\xf4\x90\x80\x80", "\xc1\x80", "\xe0\x80\x80", "\xed\xbf\xbf", "\x80",
                            "\xf8\x88\x80\x80\x80", "\xe2\x82"}) {
    EXPECT_FALSE(is_utf8(bytes));
  }
}

}  // namespace
}  // namespace ddpm
