#include "ddpm/serving/api/all_routes.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>
#include <string>

#include "ddpm/serving/site/site_files.h"
#include "serving/test_service.h"

namespace ddpm {
namespace {

using testing::FakeCalls;
using testing::kServiceKey;
using testing::TestServer;
using testing::TestService;

/// A path that a pattern fits: "/v1/jobs/{id}/events" -> "/v1/jobs/x/events".
std::string path_of(std::string pattern) {
  for (size_t begin = 0; (begin = pattern.find('{')) != pattern.npos;) {
    pattern.replace(begin, pattern.find('}') - begin + 1, "x");
  }
  return pattern;
}

std::string request_of(const HttpRoute& route, const std::string& key_field) {
  std::string text = std::string(http_method_name(route.method)) + " " + path_of(route.pattern) +
                     " HTTP/1.1\r\nHost: localhost\r\n" + key_field;
  if (route.max_body_bytes > 0) {
    text += "Content-Type: " + route.media_types.at(0) + "\r\nContent-Length: 0\r\n";
  }
  return text + "\r\n";
}

class AllRoutesTest : public ::testing::Test {
 protected:
  TestService test_{std::make_shared<FakeCalls>()};
  const HttpRouter router_ = all_routes(test_.service);
  TestServer server_{router_, test_.metrics};
};

/// Open are health, the page, and what asks for a job's id, which nobody guesses.
TEST_F(AllRoutesTest, WithoutAKeyOnlyHealthThePageAndWhatASecretNamesAreOpen) {
  std::set<std::string> open{"/livez", "/readyz", "/", "/index.html", "/openapi.json"};
  for (const std::string prefix : {"", "/gradio_api"}) {
    for (const char* rest : {"/cancel", "/reset", "/file={path...}", "/file/{path...}"}) {
      open.insert(prefix + rest);
    }
  }
  for (const SiteFile& file : embedded_site()) open.insert("/" + std::string(file.name));
  for (const HttpRoute& route : router_.routes()) {
    const bool is_open = open.contains(route.pattern);
    EXPECT_EQ(route.access == HttpAccess::kPublic, is_open) << route.pattern;
    EXPECT_EQ(server_.ask(request_of(route, "")).status == 401, !is_open) << route.pattern;
  }
  EXPECT_GT(router_.routes().size(), 20U);
}

TEST_F(AllRoutesTest, EachWrongKeyIsRefusedOnEachRoute) {
  const std::vector<std::string> wrong{
      "Authorization: Bearer " + kServiceKey + "x\r\n", "Authorization: Bearer\r\n",
      "Authorization: Basic " + kServiceKey + "\r\n",
      "X-Api-Key: " + kServiceKey.substr(1) + "\r\n", "X-Api-Key: \r\n"};
  for (const HttpRoute& route : router_.routes()) {
    if (route.access == HttpAccess::kPublic) continue;
    for (const std::string& field : wrong) {
      EXPECT_EQ(server_.ask(request_of(route, field)).status, 401) << route.pattern << " " << field;
    }
    const std::string right = request_of(route, "X-Api-Key: " + kServiceKey + "\r\n");
    // Without the body, which has no end where it is a stream.
    EXPECT_NE(RawClient(server_.port()).ask(right, /*has_body=*/false).status, 401)
        << route.pattern;
  }
}

}  // namespace
}  // namespace ddpm
