#include "ddpm/serving/http/http_access_log.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace ddpm {
namespace {

using testing::HasSubstr;

TEST(HttpAccessLogTest, NoTextOfAClientCanForgeALine) {
  EXPECT_EQ(quoted_for_log("a\r\nb\x1b[31m\"\\\x7f\xc3\xa9"),
            "\"a\\x0d\\x0ab\\x1b[31m\\x22\\x5c\\x7f\\xc3\\xa9\"");
  EXPECT_EQ(quoted_for_log(std::string(300, 'a'), 4), "\"aaaa...\"");
}

TEST(HttpAccessLogTest, LinesHaveNamedFields) {
  const std::string line = access_line({.method = "GET",
                                        .target = "/v1/models",
                                        .route = "/v1/models",
                                        .status = 200,
                                        .sent_bytes = 312,
                                        .seconds = 0.0004,
                                        .request_id = "abc",
                                        .remote_address = "127.0.0.1",
                                        .key = 0});
  EXPECT_EQ(line,
            "http method=\"GET\" target=\"/v1/models\" route=\"/v1/models\" status=200 bytes=312 "
            "ms=0.4 id=\"abc\" from=\"127.0.0.1\" key=0");
}

TEST(HttpAccessLogTest, RequestIdsAreTakenOnlyIfSound) {
  const std::string good = "job.7_A-b", bad = "a b", empty, long_one(65, 'a');
  EXPECT_EQ(choose_request_id(&good), good);
  for (const std::string* given :
       {&bad, &empty, &long_one, static_cast<const std::string*>(nullptr)}) {
    EXPECT_THAT(choose_request_id(given), testing::MatchesRegex("[0-9a-f]{16}"));
  }
  EXPECT_NE(choose_request_id(nullptr), choose_request_id(nullptr));
}

TEST(HttpAccessLogTest, TraceContextIsPassedOnOnlyIfSound) {
  const std::string good = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
  EXPECT_EQ(sound_traceparent(&good), good);
  for (const std::string& bad :
       std::vector<std::string>{good + "0", "ff" + good.substr(2), good.substr(1),
                                "00-" + std::string(32, '0') + good.substr(35),
                                "00-4BF92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"}) {
    EXPECT_EQ(sound_traceparent(&bad), "") << bad;
  }
  EXPECT_EQ(sound_traceparent(nullptr), "");
}

}  // namespace
}  // namespace ddpm
