#include "ddpm/serving/http/http_router.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "ddpm/serving/http/http_target.h"

namespace ddpm {
namespace {

using testing::ElementsAre;
using testing::Pair;

HttpResponse nothing(const HttpRequest&) { return {}; }

HttpRouter router_of(const std::vector<std::string>& patterns) {
  HttpRouter router;
  for (const auto& pattern : patterns) {
    router.add(HttpMethod::kGet, pattern, HttpAccess::kPublic, nothing);
  }
  return router;
}

HttpRouter::Match find_route(const HttpRouter& router, const std::string& target,
                             HttpMethod method = HttpMethod::kGet) {
  return router.find(method, parse_http_target(target).segments);
}

std::string pattern_at(const HttpRouter& router, const std::string& target) {
  const auto match = find_route(router, target);
  return match.route == nullptr ? "" : match.route->pattern;
}

TEST(HttpRouterTest, TakesParametersFromThePath) {
  const HttpRouter router = router_of({"/v1/jobs/{id}/images/{index}.png", "/f/file={path...}"});
  EXPECT_THAT(find_route(router, "/v1/jobs/a%20b/images/3.png").parameters,
              ElementsAre(Pair("id", "a b"), Pair("index", "3")));
  EXPECT_THAT(find_route(router, "/f/file=img/9f/0.png").parameters,
              ElementsAre(Pair("path", "img/9f/0.png")));
  for (const char* target : {"/v1/jobs//images/3.png", "/v1/jobs/a/images/.png", "/f/file=",
                             "/v1/jobs/a/images/3.png/", "/v1/jobs/a/images/3.webp", "/"}) {
    EXPECT_EQ(pattern_at(router, target), "") << target;
  }
}

TEST(HttpRouterTest, TheMoreLiteralPatternWinsInAnyOrder) {
  std::vector<std::string> patterns{"/{rest...}", "/a/{b}", "/a/b", "/a/{b}.png", "/{a}/b", "/"};
  for (int order = 0; order < 2; ++order) {
    const HttpRouter router = router_of(patterns);
    EXPECT_EQ(pattern_at(router, "/a/b"), "/a/b");
    EXPECT_EQ(pattern_at(router, "/a/c"), "/a/{b}");
    EXPECT_EQ(pattern_at(router, "/a/c.png"), "/a/{b}.png");
    EXPECT_EQ(pattern_at(router, "/x/b"), "/{a}/b");
    EXPECT_EQ(pattern_at(router, "/x/y/z"), "/{rest...}");
    EXPECT_EQ(pattern_at(router, "/"), "/");
    std::reverse(patterns.begin(), patterns.end());
  }
}

TEST(HttpRouterTest, SaysWhichMethodsAPathTakes) {
  HttpRouter router = router_of({"/jobs"});
  router.add_json("/jobs", HttpAccess::kKey, nothing);
  EXPECT_EQ(find_route(router, "/jobs", HttpMethod::kDelete).allow, "GET, POST, HEAD");
  EXPECT_EQ(find_route(router, "/jobs", HttpMethod::kDelete).route, nullptr);
  EXPECT_EQ(find_route(router, "/other").allow, "");
  EXPECT_EQ(find_route(router, "/jobs", HttpMethod::kPost).route->max_body_bytes, 65536);
}

TEST(HttpRouterTest, HeadGoesToGetUnlessItHasItsOwn) {
  HttpRouter router = router_of({"/a", "/b"});
  router.add(HttpMethod::kHead, "/b", HttpAccess::kPublic, nothing);
  EXPECT_EQ(find_route(router, "/a", HttpMethod::kHead).route->method, HttpMethod::kGet);
  EXPECT_EQ(find_route(router, "/b", HttpMethod::kHead).route->method, HttpMethod::kHead);
}

TEST(HttpRouterTest, MalformedAndRepeatedRoutesAreRefused) {
  for (const char* pattern :
       {"", "a", "/{", "/}", "/{}", "/{a}{b}", "/{a...}/b", "/{a...}x", "/{...}"}) {
    EXPECT_THROW(router_of({pattern}), std::invalid_argument) << pattern;
  }
  EXPECT_THROW(router_of({"/a/{b}", "/a/{c}"}), std::invalid_argument);
  HttpRouter router;
  EXPECT_THROW(router.add(HttpRoute{HttpMethod::kGet, "/", HttpAccess::kPublic}),
               std::invalid_argument);
}

}  // namespace
}  // namespace ddpm
