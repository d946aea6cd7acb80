#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <string>
#include <thread>
#include <vector>

#include "serving/gradio_api.h"

namespace ddpm {
namespace {

using nlohmann::json;
using testing::eventually;
using ::testing::HasSubstr;
using ::testing::StartsWith;

class GradioTest : public testing::GradioApi {};

TEST_F(GradioTest, TheConfigDescribesOneFunctionOfTheLatestProtocol) {
  const json config = json::parse(both_.get("/config").body);
  EXPECT_EQ(config.at("protocol"), "sse_v3");
  EXPECT_EQ(config.at("api_prefix"), "/gradio_api");
  EXPECT_FALSE(config.contains("root"));
  const json& function = config.at("dependencies").at(0);
  EXPECT_EQ(function.at("api_name"), "generate");
  EXPECT_EQ(function.at("inputs").size(), 7U);
  EXPECT_EQ(config.at("components").size(), 9U);
  EXPECT_EQ(config.at("components")[0].at("props").at("choices")[0][0], "fake");
  for (const char* prefix : {"", "/gradio_api"}) {
    const json info = json::parse(both_.get(prefix + std::string("/info?serialize=False")).body);
    const json& parameters = info.at("named_endpoints").at("/generate").at("parameters");
    ASSERT_EQ(parameters.size(), 7U);
    for (const json& parameter : parameters) {
      EXPECT_TRUE(parameter.at("parameter_has_default").get<bool>());
      EXPECT_TRUE(parameter.at("python_type").at("type").is_string());
    }
    const std::string app = both_.get(prefix + std::string("/app_id")).body;
    EXPECT_EQ(json::parse(app).at("app_id"), config.at("app_id"));
  }
}

TEST_F(GradioTest, TheQueueGivesTheImagesOfTheNativeApi) {
  const std::string id = joined(arguments(2));
  const auto all = messages();
  for (const json& message : all) {
    const bool is_of_job = message.at("msg") != "close_stream";
    EXPECT_TRUE(!is_of_job || message.at("event_id") == id) << message;
  }
  EXPECT_EQ(named(all, "process_starts").size(), 1U);
  EXPECT_EQ(all.back(), json({{"msg", "close_stream"}}));
  const auto done = named(all, "process_completed");
  ASSERT_EQ(done.size(), 1U);
  EXPECT_EQ(done[0].at("success"), true);
  const json& data = done[0].at("output").at("data");
  ASSERT_EQ(data.size(), 2U);
  ASSERT_EQ(data[0].size(), 2U);
  EXPECT_EQ(data[0][0].at("caption"), "shirt");
  EXPECT_EQ(data[1].at("seed"), 7);
  EXPECT_FALSE(data[1].contains("path"));
  const RawResponse image = file(data[0][0], /*with_key=*/false);  // as <img> asks for it
  EXPECT_EQ(image.status, 200);
  EXPECT_EQ(image.field("Content-Type"), "image/png");
  EXPECT_EQ(image.body, native_image());
  EXPECT_EQ(data[0][0].at("image").at("size"), image.body.size());
  EXPECT_THAT(data[0][0].at("image").at("url").get<std::string>(),
              StartsWith("http://localhost/gradio_api/file=img/"));
}

TEST_F(GradioTest, PreviewsComeInFullFirstAndThenAsEdits) {
  count_calls();
  allow_calls(20);  // The end takes previews away that are not told yet.
  joined({"fake", 2, 7, 200, "ddpm", "boot"});
  RawClient client(both_.port());
  client.send(request_text("GET", "/queue/data?session_hash=s1"));
  EXPECT_TRUE(client.receive_until("process_generating"));
  std::this_thread::sleep_for(EngineOptions{}.preview_interval);  // No other comes before.
  allow_calls(20);
  EXPECT_TRUE(client.receive_until("replace"));
  allow_calls(kAllCalls);
  const auto previews = named(messages_in(client.read_response()), "process_generating");
  ASSERT_GE(previews.size(), 2U);
  const json& first = previews[0].at("output").at("data");
  EXPECT_EQ(previews[0].at("success"), true);
  const json& item = first.at(0).at(0);
  EXPECT_THAT(item.at("image").at("url").get<std::string>(), StartsWith("data:image/png;base64,"));
  EXPECT_FALSE(item.at("image").contains("path"));
  EXPECT_THAT(item.at("caption").get<std::string>(), StartsWith("t="));
  for (size_t i = 1; i < previews.size(); ++i) {
    const json& edits = previews[i].at("output").at("data");
    EXPECT_EQ(edits.at(0).at(0).at(0), "replace");
    EXPECT_EQ(edits.at(0).at(0).at(1), json::array());
  }
}

TEST_F(GradioTest, OneStreamTellsOfAllJobsOfASession) {
  hold();
  const std::vector<std::string> ids{joined(arguments()), joined(arguments()), joined(arguments())};
  joined(arguments(), "another session");
  release();
  const auto done = named(messages(), "process_completed");
  ASSERT_EQ(done.size(), ids.size());
  for (const std::string& id : ids) {
    EXPECT_EQ(std::count_if(done.begin(), done.end(),
                            [&](const json& message) { return message.at("event_id") == id; }),
              1);
  }
}

TEST_F(GradioTest, CancelledEventsCompleteWithoutOutput) {
  hold();
  const std::string id = joined(arguments());
  // JavaScript's client sends no key here.
  const std::string body = json{{"fn_index", 0}, {"session_hash", "s1"}, {"event_id", id}}.dump();
  const RawResponse answer = both_.ask(
      "POST /gradio_api/cancel HTTP/1.1\r\nHost: localhost\r\nContent-Type: "
      "application/json\r\nContent-Length: " +
      std::to_string(body.size()) + "\r\n\r\n" + body);
  EXPECT_EQ(json::parse(answer.body), json({{"success", true}}));
  release();
  const auto done = named(messages(), "process_completed");
  ASSERT_EQ(done.size(), 1U);
  EXPECT_EQ(done[0].at("success"), true);
  EXPECT_EQ(done[0].at("output"), json::object());
}

TEST_F(GradioTest, AClientThatLeavesTakesItsJobsAlong) {
  calls_->before = [](const Tensor&, const Tensor&, const Tensor&) {
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  };
  // 10 s in all, for which eventually() waits: the job is not over before.
  const std::string id = joined({"fake", 1, 7, 1000, "ddpm"});
  {
    RawClient client(both_.port());
    client.send("GET /queue/data?session_hash=s1 HTTP/1.1\r\nHost: localhost\r\n" +
                testing::TestServer::key_field() + "\r\n");
    EXPECT_TRUE(client.receive_until("text/event-stream"));
  }
  EXPECT_TRUE(eventually([&] { return get_json("/v1/jobs/" + id).at("state") == "cancelled"; }));
}

TEST_F(GradioTest, FailuresAreToldInTheMembersThatPythonTakes) {
  calls_->before = [](const Tensor&, const Tensor&, const Tensor&) {
    throw std::runtime_error("/secret/path");
  };
  joined(arguments());
  const auto done = named(messages(), "process_completed");
  ASSERT_EQ(done.size(), 1U);
  EXPECT_EQ(done[0].at("success"), false);
  const json& output = done[0].at("output");
  EXPECT_EQ(output.at("title"), "Error");
  EXPECT_EQ(output.size(), 4U) << output;
  EXPECT_THAT(output.at("error").get<std::string>(), HasSubstr("failed"));
  EXPECT_EQ(output.dump().find("secret"), std::string::npos);
}

TEST_F(GradioTest, RefusalsNameTheParameterInAList) {
  const std::vector<std::pair<json, std::string>> cases{
      {{"fake", 0}, "n"},
      {{"other"}, "model"},
      {{"fake", 1, -1}, "seed"},
      {{"fake", 1, 7, 5000}, "steps"},
      {{"fake", 1, 7, 5, "dimm"}, "sampler"},
      {{"fake", 1, 7, 5, "ddim", "cat"}, "class_name"},
      {{"fake", 1, 7, 5, "ddim", "boot", "much"}, "guidance"},
      {{1, 2, 3, 4, 5, 6, 7, 8}, "data"},
      {"text", "data"}};
  for (const auto& [data, parameter] : cases) {
    const RawResponse response = join(data);
    EXPECT_EQ(response.status, 422) << data;
    const json detail = json::parse(response.body).at("detail").at(0);
    EXPECT_EQ(detail.at("parameter_name"), parameter) << detail;
    EXPECT_EQ(detail.at("__type__"), "validate");
    EXPECT_EQ(detail.at("is_valid"), false);
    EXPECT_THAT(detail.at("message").get<std::string>(), HasSubstr("expected"));
  }
  EXPECT_EQ(join(arguments(), std::string(200, 'x')).status, 400);
  EXPECT_EQ(send("/queue/join", {{"data", {1}}, {"fn_index", 1}, {"session_hash", "s"}}).status,
            404);
  EXPECT_EQ(both_.ask(request_text("POST", "/queue/join", {}, "[")).status, 400);
  EXPECT_EQ(both_.get("/queue/data").status, 400);
}

}  // namespace
}  // namespace ddpm
