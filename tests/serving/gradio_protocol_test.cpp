#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <string>
#include <thread>
#include <vector>

#include "ddpm/serving/api/gradio_routes.h"
#include "serving/native_api.h"

namespace ddpm {
namespace {

using nlohmann::json;
using testing::events_in;
using testing::eventually;
using ::testing::HasSubstr;
using ::testing::StartsWith;

/// A server with Gradio's routes beside the native ones, which say what images ought to come.
class GradioTest : public testing::NativeApi {
 protected:
  static HttpRouter routes(Service& service) {
    HttpRouter router = testing::native_routes(service);
    add_gradio_routes(router, service);
    return router;
  }
  RawResponse send(const std::string& target, const json& body) {
    return both_.ask(request_text("POST", target, {}, body.dump()));
  }
  RawResponse join(const json& data, const std::string& session = "s1") {
    return send("/gradio_api/queue/join?",
                {{"data", data}, {"fn_index", 0}, {"session_hash", session}, {"trigger_id", 3}});
  }
  std::string joined(const json& data, const std::string& session = "s1") {
    const RawResponse response = join(data, session);
    EXPECT_EQ(response.status, 200) << response.body;
    return json::parse(response.body).at("event_id");
  }
  /// The messages of a session's stream up to its end. Each is one line of data, as Python's client
  /// takes no other.
  std::vector<json> messages(const std::string& session = "s1") {
    const RawResponse response = both_.get("/gradio_api/queue/data?session_hash=" + session);
    EXPECT_EQ(response.status, 200);
    EXPECT_EQ(response.field("Content-Type"), "text/event-stream");
    std::vector<json> all;
    for (size_t at = 0; at < response.body.size();) {
      const size_t end = response.body.find("\n\n", at);
      const std::string line = response.body.substr(at, end - at);
      EXPECT_THAT(line, StartsWith("data: {"));
      EXPECT_EQ(line.find_first_of("\r\n"), line.npos);
      all.push_back(json::parse(line.substr(6)));
      at = end + 2;
    }
    EXPECT_FALSE(all.empty());
    return all;
  }
  static std::vector<json> named(const std::vector<json>& all, const std::string& name) {
    std::vector<json> found;
    for (const json& message : all) {
      if (message.at("msg") == name) found.push_back(message);
    }
    return found;
  }
  /// [model, n, seed, steps, sampler, class_name]
  static json arguments(int n = 1) { return {"fake", n, 7, 6, "ddim", "shirt"}; }
  std::string native_image() { return post("/v1/generate", body_of(6, {{"class", "shirt"}})).body; }
  RawResponse file(const json& gallery_item, bool with_key = true) {
    const std::string path = gallery_item.at("image").at("path");
    return both_.get("/gradio_api/file=" + path, with_key);
  }

  testing::TestServer both_{routes(test_.service), test_.metrics};
};

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
  joined({"fake", 2, 7, 200, "ddpm", "boot"});
  const auto previews = named(messages(), "process_generating");
  ASSERT_GE(previews.size(), 1U);
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
    std::this_thread::sleep_for(std::chrono::milliseconds(10));  // 2 s in all
  };
  const std::string id = joined({"fake", 1, 7, 200, "ddpm"});
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

TEST_F(GradioTest, CallsServeCurl) {
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

TEST_F(GradioTest, RunsAnswerWithTheirOutputs) {
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

TEST_F(GradioTest, FilesAreOnlyImagesOfJobs) {
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

TEST_F(GradioTest, AHeartbeatStays) {
  RawClient client(both_.port());
  client.send("GET /gradio_api/heartbeat/s1 HTTP/1.1\r\nHost: localhost\r\n" +
              testing::TestServer::key_field() + "\r\n");
  EXPECT_TRUE(client.receive_until("data: ALIVE\n\n"));
  EXPECT_FALSE(client.sees_end(300));
}

}  // namespace
}  // namespace ddpm
