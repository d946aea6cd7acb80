#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <map>
#include <string>
#include <thread>
#include <vector>

#include "ddpm/data/image_codec.h"
#include "serving/native_api.h"

namespace ddpm {
namespace {

using nlohmann::json;
using testing::events_in;
using testing::eventually;
using ::testing::HasSubstr;
using testing::StreamEvent;

class NativeEventsTest : public testing::NativeApi {};

TEST_F(NativeEventsTest, EventsTellTheWholeWay) {
  const std::string id = submit(body_of(5, {{"num_images", 2}, {"trace", 3}}));
  const RawResponse stream = server_.get("/v1/jobs/" + id + "/events");
  EXPECT_EQ(stream.field("Content-Type"), "text/event-stream");
  const std::vector<StreamEvent> events = events_in(stream.body);
  std::map<std::string, int> counts;
  for (const StreamEvent& event : events) ++counts[event.name];
  EXPECT_EQ(counts["image"], 2);
  EXPECT_EQ(counts["trace"], 3);
  EXPECT_EQ(counts["end"], 1);
  EXPECT_EQ(events.back().name, "end");
  EXPECT_EQ(events.back().data, json({{"state", "succeeded"}, {"error", nullptr}}));
  const json job = get_json("/v1/jobs/" + id);
  for (const StreamEvent& event : events) {
    if (event.name == "image") {
      EXPECT_EQ(event.data, job.at("images").at(event.data.at("index").get<size_t>()));
    }
  }
}

TEST_F(NativeEventsTest, EventsResumeAfterTheLastOne) {
  const std::string id = submit(body_of(5));
  const std::string url = "/v1/jobs/" + id + "/events";
  const std::vector<StreamEvent> all = events_in(server_.get(url).body);
  const auto after = [&](const std::string& number) {
    return events_in(
        server_.ask(request_text("GET", url, "Last-Event-ID: " + number + "\r\n")).body);
  };
  ASSERT_GE(all.size(), 2U);
  const std::vector<StreamEvent> rest = after(all[all.size() - 2].id);
  ASSERT_EQ(rest.size(), 1U);
  EXPECT_EQ(rest.front().name, "end");
  // Nothing is left, or the log began anew: the end is told again, so that nobody waits for it.
  EXPECT_EQ(after(all.back().id).back().name, "end");
  EXPECT_EQ(after("123456").back().name, "end");
  EXPECT_EQ(server_.ask(request_text("GET", url, "Last-Event-ID: x\r\n")).status, 400);
  EXPECT_EQ(server_.get("/v1/jobs/nothing/events").status, 404);
}

TEST_F(NativeEventsTest, AJobThatWaitsHearsItsPosition) {
  hold();
  const std::string first = submit(body_of(3));
  ASSERT_TRUE(eventually([&] { return get_json("/v1/jobs/" + first).at("state") == "running"; }));
  const std::string second = submit(body_of(3));
  RawClient client(server_.port());
  ASSERT_TRUE(client.send(request_text("GET", "/v1/jobs/" + second + "/events")));
  ASSERT_TRUE(client.receive_until("event: state"));
  EXPECT_THAT(client.received(), HasSubstr("\"state\":\"queued\""));
  release();
  EXPECT_TRUE(client.receive_until("event: end"));
  EXPECT_THAT(client.received(), HasSubstr("\"state\":\"running\""));
}

TEST_F(NativeEventsTest, PreviewsAreShownOnTheWay) {
  count_calls();
  allow_calls(30);  // The end takes previews away that are not told yet.
  const std::string id = submit(body_of(60, {{"previews", true}}));
  RawClient client(server_.port());
  ASSERT_TRUE(client.send(request_text("GET", "/v1/jobs/" + id + "/events")));
  ASSERT_TRUE(client.receive_until("event: preview"));
  allow_calls(kAllCalls);
  ASSERT_TRUE(client.receive_until("event: end"));
  EXPECT_THAT(client.received(), HasSubstr("\"pred_x_start\":\"data:image/png;base64,"));
}

TEST_F(NativeEventsTest, ATraceShowsTheWayOfTheFirstImage) {
  const std::string id = submit(body_of(9, {{"trace", 3}}));
  const json job = wait_until_over(id);
  EXPECT_EQ(job.at("trace").at("frames"), 3);
  const json& times = job.at("trace").at("t");
  EXPECT_EQ(times.at(0), 999.0);
  EXPECT_GT(times.at(1), times.at(2));
  for (const char* name : {"x_t", "noise", "pred_x_start"}) {
    const RawResponse png =
        server_.get("/v1/jobs/" + id + "/trace/0/" + std::string(name) + ".png");
    ASSERT_EQ(png.status, 200) << name;
    EXPECT_EQ(decode_image({png.body.begin(), png.body.end()}, "png", 100).width, 8);
  }
  EXPECT_EQ(server_.get("/v1/jobs/" + id + "/trace/3/x_t.png").status, 404);
  EXPECT_EQ(server_.get("/v1/jobs/" + id + "/trace/0/x_0.png").status, 404);
}

TEST_F(NativeEventsTest, GenerateWaitsForTheImage) {
  const RawResponse one = post("/v1/generate", body_of(3));
  EXPECT_EQ(one.status, 200);
  EXPECT_EQ(one.field("Content-Type"), "image/png");
  EXPECT_EQ(one.field("X-Seed"), "7");
  const RawResponse two = post("/v1/generate", body_of(3, {{"num_images", 2}}));
  const json images = json::parse(two.body).at("images");
  ASSERT_EQ(images.size(), 2U);
  EXPECT_THAT(images.at(0).at("b64").get<std::string>(), ::testing::StartsWith("iVBORw0KGgo"));
  EXPECT_EQ(images.at(1).at("seed"), 7);
  EXPECT_TRUE(eventually([&] { return get_json("/v1/jobs").at("data").empty(); }))
      << "what was answered is not kept";
}

TEST(NativeResultsTest, AWaitingClientGetsItsImagesThoughNoRoomIsLeft) {
  JobsOptions options;
  options.max_result_bytes = 1;
  testing::TestService test(std::make_shared<testing::FakeCalls>(), options);
  const testing::TestServer server(testing::native_routes(test.service), test.metrics);
  const std::string body = R"({"num_images": 2, "sampler": {"steps": 2}})";
  const RawResponse response =
      server.ask("POST /v1/generate HTTP/1.1\r\nHost: localhost\r\n" +
                 testing::TestServer::key_field() + "Content-Type: application/json\r\n" +
                 "Content-Length: " + std::to_string(body.size()) + "\r\n\r\n" + body);
  ASSERT_EQ(response.status, 200) << response.body;
  EXPECT_EQ(json::parse(response.body).at("images").size(), 2U);
  EXPECT_TRUE(eventually([&] { return test.jobs.result_bytes() == 0; }));
}

TEST_F(NativeEventsTest, AClientThatLeavesTakesItsImagesAlong) {
  calls_->before = [](const Tensor&, const Tensor&, const Tensor&) {
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  };
  {
    RawClient client(server_.port());
    client.send(request_text("POST", "/v1/generate", {}, body_of(1000).dump()));
    ASSERT_TRUE(eventually([&] { return get_json("/v1/jobs").at("data").size() == 1; }));
  }
  EXPECT_TRUE(eventually([&] {
    const json jobs = get_json("/v1/jobs").at("data");
    return jobs.empty() || jobs.at(0).at("state") == "cancelled";
  }));
  EXPECT_TRUE(eventually([&] { return test_.engine.stats().open_requests == 0; }));
  EXPECT_EQ(test_.engine.stats().images_done, 0U);
}

TEST_F(NativeEventsTest, GenerateWithAnIdempotencyKeySurvivesTheConnection) {
  hold();
  const std::string key = "Idempotency-Key: again-2\r\n";
  {
    RawClient client(server_.port());
    client.send(request_text("POST", "/v1/generate", key, body_of(3).dump()));
    ASSERT_TRUE(eventually([&] { return get_json("/v1/jobs").at("data").size() == 1; }));
  }
  release();
  EXPECT_EQ(post("/v1/generate", body_of(3), key).status, 200);
  EXPECT_EQ(get_json("/v1/jobs").at("data").size(), 1U);
}

}  // namespace
}  // namespace ddpm
