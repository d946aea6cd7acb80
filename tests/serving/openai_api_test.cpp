#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>
#include <string>
#include <vector>

#include "ddpm/serving/api/openai_routes.h"
#include "serving/native_api.h"

namespace ddpm {
namespace {

using nlohmann::json;
using testing::events_in;
using testing::eventually;
using ::testing::HasSubstr;
using ::testing::StartsWith;
using testing::StreamEvent;

/// A server with OpenAI's route beside the native ones, which say what images ought to come.
class OpenAiTest : public testing::NativeApi {
 protected:
  static HttpRouter routes(Service& service) {
    HttpRouter router = testing::native_routes(service);
    add_openai_routes(router, service);
    return router;
  }
  RawResponse generate(const json& body) {
    return both_.ask(request_text("POST", "/v1/images/generations", {}, body.dump()));
  }
  json images(const json& body) {
    const RawResponse response = generate(body);
    EXPECT_EQ(response.status, 200) << response.body;
    return json::parse(response.body);
  }
  static json request(const json& more = json::object()) {
    json body{{"model", "fake"},
              {"prompt", ""},
              {"seed", 7},
              {"sampler", {{"kind", "ddim"}, {"steps", 6}}}};
    body.update(more);
    return body;
  }
  /// The native API's images of the same request, in base64.
  std::vector<std::string> native_images(int64_t count, const json& label) {
    const RawResponse response =
        post("/v1/generate", body_of(6, {{"num_images", count}, {"class", label}}));
    EXPECT_EQ(response.status, 200) << response.body;
    if (count == 1) return {to_base64(response.body)};
    const json answer = json::parse(response.body);
    std::vector<std::string> found;
    for (const json& image : answer.at("images")) found.push_back(image.at("b64"));
    return found;
  }

  testing::TestServer both_{routes(test_.service), test_.metrics};
};

TEST_F(OpenAiTest, ImagesAreThoseOfTheNativeApi) {
  const json answer = images(request({{"prompt", "Shirt"}, {"n", 2.0}, {"size", "8x8"}}));
  ASSERT_EQ(answer.at("data").size(), 2U);
  const auto expected = native_images(2, "shirt");
  EXPECT_EQ(answer.at("data")[0].at("b64_json"), expected[0]);
  EXPECT_EQ(answer.at("data")[1].at("b64_json"), expected[1]);
  EXPECT_EQ(answer.at("size"), "8x8");
  EXPECT_EQ(answer.at("output_format"), "png");
  EXPECT_EQ(answer.at("seed"), 7);
  EXPECT_GT(answer.at("created"), 1'700'000'000);
  EXPECT_EQ(answer.at("usage").at("total_tokens"), 0);
  EXPECT_EQ(images(request({{"prompt", "class:1"}})).at("data")[0].at("b64_json"),
            native_images(1, "shirt")[0]);
}

TEST_F(OpenAiTest, UrlsLeadToTheImages) {
  const json answer = images(request({{"response_format", "url"}, {"output_format", "webp"}}));
  const std::string url = answer.at("data")[0].at("url");
  ASSERT_THAT(url, StartsWith("http://localhost/v1/jobs/"));
  const RawResponse image = server_.get(url.substr(std::string("http://localhost").size()));
  EXPECT_EQ(image.status, 200);
  EXPECT_EQ(image.field("Content-Type"), "image/webp");
}

TEST_F(OpenAiTest, AStreamShowsPartsOfTheWayAndTheImage) {
  const RawResponse response =
      generate(request({{"stream", true}, {"partial_images", 2}, {"prompt", "boot"}}));
  EXPECT_EQ(response.field("Content-Type"), "text/event-stream");
  const std::vector<StreamEvent> events = events_in(response.body);
  ASSERT_GE(events.size(), 1U);
  ASSERT_LE(events.size(), 3U);
  for (size_t i = 0; i + 1 < events.size(); ++i) {
    EXPECT_EQ(events[i].name, "image_generation.partial_image");
    EXPECT_EQ(events[i].data.at("type"), events[i].name);
    EXPECT_EQ(events[i].data.at("partial_image_index"), i);
    EXPECT_THAT(events[i].data.at("b64_json").get<std::string>(), StartsWith("iVBORw0KGgo"));
  }
  EXPECT_EQ(events.back().name, "image_generation.completed");
  EXPECT_EQ(events.back().data.at("b64_json"), native_images(1, "boot")[0]);
  EXPECT_GT(events.back().data.at("created_at"), 1'700'000'000);
}

TEST_F(OpenAiTest, RefusalsNameTheParameter) {
  const std::vector<std::pair<json, std::string>> cases{
      {request({{"prompt", "a cat"}}), "prompt"},
      {request({{"prompt", 3}}), "prompt"},
      {request({{"n", 11}}), "n"},
      {request({{"n", 0}}), "n"},
      {request({{"size", "1024x1024"}}), "size"},
      {request({{"output_format", "jpeg"}}), "output_format"},
      {request({{"background", "transparent"}}), "background"},
      {request({{"stream", true}, {"n", 2}}), "n"},
      {request({{"partial_images", 4}}), "partial_images"},
      {request({{"response_format", "file"}}), "response_format"},
      {request({{"sampler", {{"kind", "ddim"}, {"steps", -1}}}}), "sampler.steps"},
      {request({{"smapler", 1}}), "smapler"}};
  for (const auto& [body, parameter] : cases) {
    const RawResponse response = generate(body);
    EXPECT_EQ(response.status, 400) << body;
    const json error = error_of(response);
    EXPECT_EQ(error.at("param"), parameter) << body;
    EXPECT_EQ(error.at("type"), "invalid_request_error");
    EXPECT_EQ(error.at("code"), "invalid_request");
    EXPECT_THAT(error.at("message").get<std::string>(), HasSubstr("expected"));
  }
  EXPECT_THAT(error_of(generate(request({{"prompt", "a cat"}}))).at("message").get<std::string>(),
              HasSubstr("the classes are boot, shirt"));
  const RawResponse unknown = generate(request({{"model", "dall-e-3"}}));
  EXPECT_EQ(unknown.status, 404);
  EXPECT_EQ(error_of(unknown).at("code"), "model_not_found");
  EXPECT_EQ(error_of(unknown).at("param"), "model");
  EXPECT_EQ(both_.ask(request_text("POST", "/v1/images/generations", {}, "{")).status, 400);
}

TEST_F(OpenAiTest, NothingIsKeptButWhatAUrlNames) {
  images(request());
  generate(request({{"stream", true}}));
  EXPECT_TRUE(eventually([&] { return get_json("/v1/jobs").at("data").empty(); }));
  images(request({{"response_format", "url"}}));
  EXPECT_EQ(get_json("/v1/jobs").at("data").size(), 1U);
}

}  // namespace
}  // namespace ddpm
