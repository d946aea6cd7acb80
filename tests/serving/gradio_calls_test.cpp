#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "serving/gradio_api.h"

namespace ddpm {
namespace {

using nlohmann::json;
using testing::events_in;

class GradioCallsTest : public testing::GradioApi {};

TEST_F(GradioCallsTest, CallsServeCurl) {
  for (const auto& [target, body] : std::vector<std::pair<std::string, json>>{
           {"/gradio_api/call/generate", {{"data", arguments()}}},
           {"/call/v2/generate",
            {{"seed", 7}, {"n", 1}, {"steps", 6}, {"sampler", "ddim"}, {"class_name", "shirt"}}}}) {
    const RawResponse begun = send(target, body);
    ASSERT_EQ(begun.status, 200) << begun.body;
    const std::string id = json::parse(begun.body).at("event_id");
    const auto events = events_in(both_.get(target + "/" + id).body);
    ASSERT_FALSE(events.empty());
    for (size_t i = 0; i + 1 < events.size(); ++i) EXPECT_EQ(events[i].name, "generating");
    EXPECT_EQ(events.back().name, "complete");
    EXPECT_EQ(file(events.back().data.at(0).at(0)).body, native_image());
  }
  EXPECT_EQ(both_.get("/call/generate/unknown").status, 404);
  const json named_wrongly = json::parse(send("/call/v2/generate", {{"sed", 7}}).body);
  EXPECT_EQ(named_wrongly.at("detail")[0].at("parameter_name"), "data");
}

TEST_F(GradioCallsTest, RunsAnswerWithTheirOutputs) {
  for (const char* target : {"/gradio_api/run/generate", "/api/generate"}) {
    const RawResponse response = send(target, {{"data", arguments()}});
    ASSERT_EQ(response.status, 200) << response.body;
    const json answer = json::parse(response.body);
    EXPECT_EQ(file(answer.at("data")[0][0]).body, native_image());
    EXPECT_GE(answer.at("duration").get<double>(), 0);
  }
  EXPECT_EQ(send("/run/generate", {{"data", {"fake", -1}}}).status, 422);
  EXPECT_EQ(send("/run/other", {{"data", json::array()}}).status, 404);
}

TEST_F(GradioCallsTest, FilesAreOnlyImagesOfJobs) {
  const json answer = json::parse(send("/run/generate", {{"data", arguments()}}).body);
  const std::string path = answer.at("data")[0][0].at("image").at("path");
  EXPECT_EQ(both_.get("/file/" + path).status, 200);
  const RawResponse part =
      both_.ask("GET /file=" + path + " HTTP/1.1\r\nHost: localhost\r\nRange: bytes=1-3\r\n\r\n");
  EXPECT_EQ(part.status, 206);
  EXPECT_EQ(part.body, "PNG");
  const std::string folder = path.substr(0, path.rfind('/'));
  for (const std::string& other :
       {folder + "/1.png", folder + "/00.png", folder + "/0.webp", folder + "/0", folder,
        folder + "/-1.png", std::string("img/0.png"), std::string("etc/passwd"),
        std::string("img/unknown/0.png")}) {
    EXPECT_EQ(both_.get("/file=" + other).status, 404) << other;
  }
}

TEST_F(GradioCallsTest, AHeartbeatStays) {
  RawClient client(both_.port());
  client.send("GET /gradio_api/heartbeat/s1 HTTP/1.1\r\nHost: localhost\r\n" +
              testing::TestServer::key_field() + "\r\n");
  EXPECT_TRUE(client.receive_until("data: ALIVE\n\n"));
  EXPECT_FALSE(client.sees_end(300));
}

}  // namespace
}  // namespace ddpm
