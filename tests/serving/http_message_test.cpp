#include "ddpm/serving/http/http_message.h"

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

namespace ddpm {
namespace {

TEST(HttpMessageTest, ErrorsAreJsonWithTheIdOfTheRequest) {
  HttpError error(422, "invalid_request", "steps is \"too\" large\n\xff", "sampler.steps");
  error.headers = {{"Retry-After", "1"}};
  const HttpResponse response = error_response(error, "abc");
  EXPECT_EQ(response.status, 422);
  EXPECT_EQ(response.media_type, "application/json");
  EXPECT_EQ(*find_header(response.headers, "retry-after"), "1");
  const auto json = nlohmann::json::parse(std::get<std::string>(response.body))["error"];
  EXPECT_EQ(json["code"], "invalid_request");
  EXPECT_EQ(json["message"], "steps is \"too\" large\n\xef\xbf\xbd");
  EXPECT_EQ(json["field"], "sampler.steps");
  EXPECT_EQ(json["request_id"], "abc");
  const HttpResponse plain = error_response(HttpError(404, "not_found", "no"), "");
  EXPECT_TRUE(nlohmann::json::parse(std::get<std::string>(plain.body))["error"]["field"].is_null());
}

TEST(HttpMessageTest, FieldNamesHaveNoCase) {
  const HttpHeaders fields{{"X-A", "1"}, {"x-a", "2"}};
  EXPECT_EQ(*find_header(fields, "x-A"), "1");
  EXPECT_EQ(find_header(fields, "x-ab"), nullptr);
}

TEST(HttpMessageTest, EveryStatusOfTheApiHasAReason) {
  for (int status : {200, 202, 204, 206, 304, 400, 401, 403, 404, 405, 408, 409, 411,
                     413, 414, 415, 416, 417, 421, 422, 429, 431, 500, 501, 503, 505}) {
    EXPECT_NE(http_reason(status), "") << status;
  }
  EXPECT_EQ(http_reason(299), "");
}

}  // namespace
}  // namespace ddpm
