#include "ddpm/serving/http/http_origin.h"

#include <gtest/gtest.h>

#include "serving/http_status.h"

namespace ddpm {
namespace {

int origin_status(const HttpOriginPolicy& policy, const std::string& origin) {
  return status_of([&] { policy.check_origin({{"Origin", origin}, {"Host", "127.0.0.1:8080"}}); });
}

TEST(HttpOriginTest, OnlyOwnAndAllowedPagesMayChangeThings) {
  const HttpOriginPolicy policy({"https://studio.example"}, {});
  EXPECT_EQ(origin_status(policy, "http://127.0.0.1:8080"), 0);
  EXPECT_EQ(origin_status(policy, "https://studio.example"), 0);
  for (const char* origin : {"null", "", "https://evil.example", "http://studio.example",
                             "https://studio.example.evil", "http://127.0.0.1:9"}) {
    EXPECT_EQ(origin_status(policy, origin), 403) << origin;
  }
  EXPECT_EQ(status_of([&] { policy.check_origin({{"Host", "a"}}); }), 0);
}

TEST(HttpOriginTest, OnlyOurNamesAreTakenWhereTheyAreGiven) {
  const HttpOriginPolicy policy({}, {"localhost", "127.0.0.1", "::1"});
  for (const char* host : {"localhost", "LOCALHOST:80", "127.0.0.1:8080", "[::1]:8080", "[::1]"}) {
    EXPECT_EQ(status_of([&] { policy.check_host(host); }), 0) << host;
  }
  for (const char* host : {"evil.example", "localhost.evil", "127.0.0.1.evil:80"}) {
    EXPECT_EQ(status_of([&] { policy.check_host(host); }), 421) << host;
  }
  for (const char* host : {"", "a b", "a/b", "a@b", "a\"b"}) {
    EXPECT_EQ(status_of([&] { policy.check_host(host); }), 400) << host;
  }
  EXPECT_EQ(status_of([&] { HttpOriginPolicy({}, {}).check_host("any.example"); }), 0);
}

TEST(HttpOriginTest, CorsNamesAllowedOriginsAndNeverCredentials) {
  const HttpOriginPolicy policy({"https://studio.example"}, {});
  const HttpHeaders allowed =
      policy.preflight_fields({{"Origin", "https://studio.example"}}, "GET");
  EXPECT_EQ(*find_header(allowed, "Access-Control-Allow-Origin"), "https://studio.example");
  EXPECT_EQ(*find_header(allowed, "Access-Control-Allow-Methods"), "GET");
  EXPECT_EQ(*find_header(allowed, "Vary"), "Origin");
  EXPECT_EQ(find_header(allowed, "Access-Control-Allow-Credentials"), nullptr);
  EXPECT_TRUE(policy.preflight_fields({{"Origin", "https://evil.example"}}, "GET").empty());
  const HttpHeaders refused = policy.cors_fields({{"Origin", "https://evil.example"}});
  EXPECT_EQ(find_header(refused, "Access-Control-Allow-Origin"), nullptr);
  EXPECT_TRUE(HttpOriginPolicy({}, {}).cors_fields({{"Origin", "https://a.example"}}).empty());
}

TEST(HttpOriginTest, MalformedOriginsAreRefused) {
  for (const char* origin : {"", "example.org", "ftp://a", "https://", "https://a/b", "null"}) {
    EXPECT_THROW(HttpOriginPolicy({origin}, {}), std::invalid_argument) << origin;
  }
}

}  // namespace
}  // namespace ddpm
