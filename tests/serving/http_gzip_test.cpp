#include "ddpm/serving/http/http_gzip.h"

#include <gtest/gtest.h>

namespace ddpm {
namespace {

TEST(HttpGzipTest, CompressesIntoAGzipMember) {
  const std::string compressed = gzip(std::string(100'000, 'a'));
  EXPECT_EQ(compressed.substr(0, 3), "\x1f\x8b\x08");
  EXPECT_LT(compressed.size(), 500u);
  EXPECT_GT(gzip("").size(), 0u);
}

TEST(HttpGzipTest, AClientMustTakeIt) {
  for (const std::string& field :
       std::vector<std::string>{"gzip", "deflate, GZIP", "*", "br;q=1, gzip;q=0.5"}) {
    EXPECT_TRUE(accepts_gzip(&field)) << field;
  }
  for (const std::string& field :
       std::vector<std::string>{"", "identity", "gzip;q=0", "gzip; q=0.000", "xgzip", ";;,"}) {
    EXPECT_FALSE(accepts_gzip(&field)) << field;
  }
  EXPECT_FALSE(accepts_gzip(nullptr));
}

TEST(HttpGzipTest, OnlyTextIsWorthIt) {
  for (const char* type : {"text/html; charset=utf-8", "application/json", "image/svg+xml",
                           "text/javascript", "application/manifest+json"}) {
    EXPECT_TRUE(is_compressible(type)) << type;
  }
  for (const char* type : {"image/png", "application/zip", "", "font/woff2"}) {
    EXPECT_FALSE(is_compressible(type)) << type;
  }
}

TEST(HttpGzipTest, TheCacheKeepsBodiesWithATagAndStaysBounded) {
  GzipCache cache(4096);
  const std::string body(1000, 'a');
  EXPECT_EQ(cache.get("\"a\"", body), cache.get("\"a\"", body));
  EXPECT_NE(cache.get("", body), cache.get("", body));
  const SharedBytes first = cache.get("\"a\"", body);
  std::string noise;
  uint32_t state = 1;
  for (int i = 0; i < 3000; ++i) {
    state = state * 1664525 + 1013904223;
    noise += static_cast<char>(state >> 24);
  }
  cache.get("\"b\"", noise);
  cache.get("\"c\"", noise);
  EXPECT_NE(first, cache.get("\"a\"", body));  // was put out
}

}  // namespace
}  // namespace ddpm
