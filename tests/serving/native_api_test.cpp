#include <ATen/Parallel.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <latch>
#include <limits>
#include <map>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "ddpm/data/image_codec.h"
#include "ddpm/data/image_tensor.h"
#include "ddpm/serving/api/native_routes.h"
#include "serving/test_service.h"

namespace ddpm {
namespace {

using nlohmann::json;
using testing::eventually;
using testing::FakeCalls;
using ::testing::HasSubstr;
using testing::kServiceKey;
using testing::TestServer;
using testing::TestService;

HttpRouter native_routes(Service& service) {
  HttpRouter router;
  add_native_routes(router, service);
  return router;
}

JobsOptions with_frames() {
  JobsOptions options;
  options.encode_frame = encode_job_frame;
  options.progress_interval = std::chrono::milliseconds(0);
  return options;
}

/// An event of a stream.
struct Event {
  std::string id, name;
  json data;
};

std::vector<Event> events_in(const std::string& text) {
  std::vector<Event> events;
  Event event;
  for (size_t at = 0; at < text.size();) {
    const size_t end = std::min(text.find('\n', at), text.size());
    const std::string line = text.substr(at, end - at);
    at = end + 1;
    if (line.starts_with("id: ")) event.id = line.substr(4);
    if (line.starts_with("event: ")) event.name = line.substr(7);
    if (line.starts_with("data: ")) event.data = json::parse(line.substr(6));
    if (!line.empty() || event.name.empty()) continue;
    events.push_back(event);
    event = {};
  }
  return events;
}

class NativeApiTest : public ::testing::Test {
 protected:
  void SetUp() override { at::set_num_threads(1); }
  void TearDown() override { release(); }
  /// Holds the network back until release().
  void hold() {
    calls_->before = [this](const Tensor&, const Tensor&, const Tensor&) { opened_.wait(); };
  }
  void release() {
    if (!is_open_) opened_.count_down();
    is_open_ = true;
  }

  static std::string request_text(const std::string& method, const std::string& target,
                                  const std::string& fields = {}, const std::string& body = {}) {
    std::string text = method + " " + target + " HTTP/1.1\r\nHost: localhost\r\n" +
                       TestServer::key_field() + fields;
    if (method == "POST") {
      text += "Content-Type: application/json\r\nContent-Length: " + std::to_string(body.size()) +
              "\r\n";
    }
    return text + "\r\n" + body;
  }
  RawResponse post(const std::string& target, const json& body, const std::string& fields = {}) {
    return server_.ask(request_text("POST", target, fields, body.dump()));
  }
  RawResponse remove(const std::string& target) {
    return server_.ask(request_text("DELETE", target));
  }
  json get_json(const std::string& target) {
    const RawResponse response = server_.get(target);
    EXPECT_EQ(response.status, 200) << target << response.body;
    EXPECT_EQ(response.field("Content-Type"), "application/json");
    return json::parse(response.body);
  }
  std::string submit(const json& body) {
    const RawResponse response = post("/v1/jobs", body);
    EXPECT_EQ(response.status, 202) << response.body;
    return json::parse(response.body).at("id");
  }
  json wait_until_over(const std::string& id) {
    json job;
    EXPECT_TRUE(eventually([&] {
      job = get_json("/v1/jobs/" + id);
      return !job.at("finished_at").is_null();
    }));
    return job;
  }
  static json error_of(const RawResponse& response) {
    return json::parse(response.body).at("error");
  }
  static json body_of(int64_t steps, const json& more = json::object()) {
    json body{{"model", "fake"}, {"seed", 7}, {"sampler", {{"kind", "ddim"}, {"steps", steps}}}};
    body.update(more);
    return body;
  }

  std::latch opened_{1};
  bool is_open_ = false;
  std::shared_ptr<FakeCalls> calls_ = std::make_shared<FakeCalls>();
  TestService test_{calls_, with_frames()};
  TestServer server_{native_routes(test_.service), test_.metrics};
};

TEST_F(NativeApiTest, ModelsAreListedAsOpenAiClientsReadThem) {
  const json list = get_json("/v1/models");
  EXPECT_EQ(list.at("object"), "list");
  const json& model = list.at("data").at(0);
  EXPECT_EQ(model.at("id"), "fake");
  EXPECT_EQ(model.at("object"), "model");
  EXPECT_EQ(model.at("created"), 1'700'000'000);
  const json& own = model.at("ddpm");
  EXPECT_EQ(own.at("image_shape"), json({3, 8, 8}));
  EXPECT_EQ(own.at("classes"), json({"boot", "shirt"}));
  EXPECT_EQ(own.at("num_timesteps"), 1000);
  EXPECT_EQ(own.at("default_sampler").at("kind"), "dpmpp_2m");
  EXPECT_EQ(own.at("hash"), std::string(64, 'a'));
  EXPECT_EQ(get_json("/v1/models/fake"), model);
  const RawResponse unknown = server_.get("/v1/models/other");
  EXPECT_EQ(unknown.status, 404);
  EXPECT_EQ(error_of(unknown).at("code"), "unknown_model");
}

TEST_F(NativeApiTest, CapabilitiesAreTheFieldsOfTheOptions) {
  const json all = get_json("/v1/capabilities");
  EXPECT_EQ(all.at("version"), "1.2.3");
  EXPECT_EQ(all.at("formats"), json({"png", "webp", "npz"}));
  EXPECT_EQ(all.at("limits").at("max_images"), 64);
  EXPECT_EQ(all.at("samplers").size(), 18U);
  std::map<std::string, json> options, samplers;
  for (const json& option : all.at("sampler_options")) options[option.at("name")] = option;
  for (const json& sampler : all.at("samplers")) samplers[sampler.at("kind")] = sampler;
  EXPECT_EQ(options.at("steps").at("type"), "integer");
  EXPECT_EQ(options.at("steps").at("min"), 0);
  EXPECT_EQ(options.at("steps").at("max"), nullptr);
  EXPECT_EQ(options.at("eta").at("max"), 1.0);
  EXPECT_EQ(options.at("clip").at("values"), json({"none", "clip", "dynamic"}));
  EXPECT_EQ(options.at("lower_order_final").at("type"), "boolean");
  EXPECT_EQ(all.at("guidance_options").at(2).at("type"), "list");
  EXPECT_EQ(samplers.at("ddim").at("default_steps"), 50);
  EXPECT_EQ(samplers.at("ddpm").at("default_steps"), nullptr);
  for (const auto& [kind, sampler] : samplers) {
    for (const json& name : sampler.at("options")) EXPECT_TRUE(options.contains(name)) << name;
  }
}

TEST_F(NativeApiTest, AJobDrawsWhatSampleDraws) {
  const RawResponse accepted =
      post("/v1/jobs", body_of(6, {{"num_images", 2}, {"class", "shirt"}}));
  ASSERT_EQ(accepted.status, 202) << accepted.body;
  const json first = json::parse(accepted.body);
  const std::string id = first.at("id");
  EXPECT_EQ(accepted.field("Location"), "/v1/jobs/" + id);
  EXPECT_EQ(first.at("links").at("events"), "/v1/jobs/" + id + "/events");
  const json job = wait_until_over(id);
  EXPECT_EQ(job.at("state"), "succeeded");
  EXPECT_EQ(job.at("error"), nullptr);
  EXPECT_EQ(job.at("position"), nullptr);
  EXPECT_EQ(job.at("progress"),
            json({{"step", 6}, {"steps", 6}, {"images_done", 2}, {"images", 2}}));
  EXPECT_EQ(job.at("request").at("class"), json({"shirt", "shirt"}));
  EXPECT_THAT(job.at("created_at").get<std::string>(), ::testing::EndsWith("Z"));
  ASSERT_EQ(job.at("images").size(), 2U);
  for (int64_t i = 0; i < 2; ++i) {
    const json& image = job.at("images").at(static_cast<size_t>(i));
    EXPECT_EQ(image.at("seed"), 7);
    EXPECT_EQ(image.at("index"), i);
    EXPECT_EQ(image.at("width"), 8);
    const RawResponse png = server_.get(image.at("url"));
    EXPECT_EQ(png.field("Content-Type"), "image/png");
    const Image drawn = decode_image({png.body.begin(), png.body.end()}, "png", 100);
    const EngineRequest asked{
        .seed = 7, .sampler = {.kind = SamplerKind::kDdim, .steps = 6}, .class_labels = {1}};
    const auto model = test_.models.find("fake")->engine;
    EXPECT_EQ(drawn.pixels, image_from_tensor(testing::sampled(*model, asked, i)).pixels);
  }
}

TEST_F(NativeApiTest, TheResolvedRequestIsABodyThatDrawsTheSame) {
  const json job = wait_until_over(submit({{"model", "fake"}, {"num_images", 3}}));
  const json again = wait_until_over(submit(job.at("request")));
  EXPECT_EQ(again.at("request"), job.at("request"));
  const auto bytes = [&](const json& of) {
    const RawResponse png = server_.get(of.at("images").at(2).at("url"));
    return decode_image({png.body.begin(), png.body.end()}, "png", 100).pixels;
  };
  EXPECT_EQ(bytes(job), bytes(again));
}

TEST_F(NativeApiTest, ImagesHaveEtagsRangesAndHead) {
  const std::string id = submit(body_of(2));
  wait_until_over(id);
  const std::string url = "/v1/jobs/" + id + "/images/0";
  const RawResponse whole = server_.get(url);
  ASSERT_EQ(whole.status, 200);
  EXPECT_EQ(server_.get(url + ".png").body, whole.body);
  EXPECT_THAT(whole.field("Cache-Control"), HasSubstr("private"));
  const std::string etag = whole.field("ETag");
  EXPECT_EQ(server_.ask(request_text("GET", url, "If-None-Match: " + etag + "\r\n")).status, 304);
  const RawResponse part = server_.ask(request_text("GET", url, "Range: bytes=1-3\r\n"));
  EXPECT_EQ(part.status, 206);
  EXPECT_EQ(part.body, "PNG");
  RawClient client(server_.port());
  const RawResponse head = client.ask(request_text("HEAD", url), /*has_body=*/false);
  EXPECT_EQ(head.status, 200);
  EXPECT_EQ(head.field("Content-Length"), std::to_string(whole.body.size()));
  for (const char* name : {"1", "0.webp", "0.pn", "-1", "0x0", "99999999999999999999", "..%2f0"}) {
    EXPECT_EQ(server_.get("/v1/jobs/" + id + "/images/" + name).status / 100, 4) << name;
  }
}

TEST_F(NativeApiTest, EveryFormatIsServedUnderItsName) {
  const std::map<std::string, std::string> types{
      {"png", "image/png"}, {"webp", "image/webp"}, {"npz", "application/x-npz"}};
  for (const auto& [format, type] : types) {
    const json job = wait_until_over(submit(body_of(2, {{"format", format}})));
    const json& image = job.at("images").at(0);
    EXPECT_EQ(image.at("media_type"), type);
    EXPECT_THAT(image.at("url").get<std::string>(), ::testing::EndsWith("0." + format));
    EXPECT_EQ(server_.get(image.at("url")).field("Content-Type"), type);
  }
}

TEST_F(NativeApiTest, AnIdempotencyKeyGivesTheSameJobAgain) {
  const std::string key = "Idempotency-Key: again-1\r\n";
  const json body{{"model", "fake"}};  // without a seed: the first one's counts
  const json first = json::parse(post("/v1/jobs", body, key).body);
  const json second = json::parse(post("/v1/jobs", body, key).body);
  EXPECT_EQ(first.at("id"), second.at("id"));
  EXPECT_EQ(first.at("request").at("seed"), second.at("request").at("seed"));
  const RawResponse other = post("/v1/jobs", body_of(3), key);
  EXPECT_EQ(other.status, 409);
  EXPECT_EQ(error_of(other).at("code"), "conflict");
  EXPECT_EQ(post("/v1/jobs", body, "Idempotency-Key: a b\r\n").status, 400);
}

TEST_F(NativeApiTest, JobsAreListedNewestFirstInPages) {
  std::vector<std::string> ids;
  for (int i = 0; i < 3; ++i) ids.push_back(submit(body_of(1)));
  const json page = get_json("/v1/jobs?limit=2");
  EXPECT_EQ(page.at("data").size(), 2U);
  EXPECT_EQ(page.at("data").at(0).at("id"), ids[2]);
  EXPECT_EQ(page.at("has_more"), true);
  const json rest = get_json("/v1/jobs?limit=2&after=" + ids[1]);
  ASSERT_EQ(rest.at("data").size(), 1U);
  EXPECT_EQ(rest.at("data").at(0).at("id"), ids[0]);
  EXPECT_EQ(rest.at("has_more"), false);
  EXPECT_EQ(server_.get("/v1/jobs?limit=101").status, 422);
  EXPECT_EQ(server_.get("/v1/jobs?limit=x").status, 422);
  EXPECT_EQ(error_of(server_.get("/v1/jobs?after=nothing")).at("field"), "after");
}

TEST_F(NativeApiTest, ADeleteCancelsWhatIsOpenAndForgetsWhatIsOver) {
  hold();
  const std::string id = submit(body_of(500));
  const RawResponse cancelled = remove("/v1/jobs/" + id);
  EXPECT_EQ(cancelled.status, 200);
  EXPECT_EQ(json::parse(cancelled.body).at("id"), id);
  release();
  EXPECT_EQ(wait_until_over(id).at("state"), "cancelled");
  EXPECT_EQ(remove("/v1/jobs/" + id).status, 200);
  EXPECT_EQ(server_.get("/v1/jobs/" + id).status, 404);
  EXPECT_EQ(remove("/v1/jobs/" + id).status, 404);
}

TEST_F(NativeApiTest, EventsTellTheWholeWay) {
  const std::string id = submit(body_of(5, {{"num_images", 2}, {"trace", 3}}));
  const RawResponse stream = server_.get("/v1/jobs/" + id + "/events");
  EXPECT_EQ(stream.field("Content-Type"), "text/event-stream");
  const std::vector<Event> events = events_in(stream.body);
  std::map<std::string, int> counts;
  for (const Event& event : events) ++counts[event.name];
  EXPECT_EQ(counts["image"], 2);
  EXPECT_EQ(counts["trace"], 3);
  EXPECT_EQ(counts["end"], 1);
  EXPECT_EQ(events.back().name, "end");
  EXPECT_EQ(events.back().data, json({{"state", "succeeded"}, {"error", nullptr}}));
  const json job = get_json("/v1/jobs/" + id);
  for (const Event& event : events) {
    if (event.name == "image") {
      EXPECT_EQ(event.data, job.at("images").at(event.data.at("index").get<size_t>()));
    }
  }
}

TEST_F(NativeApiTest, EventsResumeAfterTheLastOne) {
  const std::string id = submit(body_of(5));
  const std::string url = "/v1/jobs/" + id + "/events";
  const std::vector<Event> all = events_in(server_.get(url).body);
  const auto after = [&](const std::string& number) {
    return events_in(
        server_.ask(request_text("GET", url, "Last-Event-ID: " + number + "\r\n")).body);
  };
  ASSERT_GE(all.size(), 2U);
  const std::vector<Event> rest = after(all[all.size() - 2].id);
  ASSERT_EQ(rest.size(), 1U);
  EXPECT_EQ(rest.front().name, "end");
  // Nothing is left, or the log began anew: the end is told again, so that nobody waits for it.
  EXPECT_EQ(after(all.back().id).back().name, "end");
  EXPECT_EQ(after("123456").back().name, "end");
  EXPECT_EQ(server_.ask(request_text("GET", url, "Last-Event-ID: x\r\n")).status, 400);
  EXPECT_EQ(server_.get("/v1/jobs/nothing/events").status, 404);
}

TEST_F(NativeApiTest, AJobThatWaitsHearsItsPosition) {
  hold();
  submit(body_of(3));
  const std::string second = submit(body_of(3));
  RawClient client(server_.port());
  ASSERT_TRUE(client.send(request_text("GET", "/v1/jobs/" + second + "/events")));
  ASSERT_TRUE(client.receive_until("event: state"));
  EXPECT_THAT(client.received(), HasSubstr("\"state\":\"queued\""));
  release();
  EXPECT_TRUE(client.receive_until("event: end"));
  EXPECT_THAT(client.received(), HasSubstr("\"state\":\"running\""));
}

TEST_F(NativeApiTest, PreviewsAreShownOnTheWay) {
  calls_->before = [](const Tensor&, const Tensor&, const Tensor&) {
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  };
  const std::string id = submit(body_of(60, {{"previews", true}}));
  RawClient client(server_.port());
  ASSERT_TRUE(client.send(request_text("GET", "/v1/jobs/" + id + "/events")));
  ASSERT_TRUE(client.receive_until("event: preview"));
  ASSERT_TRUE(client.receive_until("event: end"));
  EXPECT_THAT(client.received(), HasSubstr("\"pred_x_start\":\"data:image/png;base64,"));
}

TEST_F(NativeApiTest, ATraceShowsTheWayOfTheFirstImage) {
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

TEST_F(NativeApiTest, GenerateWaitsForTheImage) {
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

TEST_F(NativeApiTest, AClientThatLeavesTakesItsImagesAlong) {
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

TEST_F(NativeApiTest, GenerateWithAnIdempotencyKeySurvivesTheConnection) {
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

TEST_F(NativeApiTest, ADeadlineThatPassesIsTold) {
  hold();
  std::thread later([this] {
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
    release();
  });
  const RawResponse late = post("/v1/generate", body_of(500, {{"deadline_ms", 20}}));
  later.join();
  EXPECT_EQ(late.status, 504);
  EXPECT_EQ(error_of(late).at("code"), "timeout");
}

TEST_F(NativeApiTest, AnswersThatAreNotFiniteAreNoImage) {
  calls_->before = [](const Tensor& x, const Tensor&, const Tensor&) {
    x.fill_(std::numeric_limits<float>::quiet_NaN());
  };
  const RawResponse response = post("/v1/generate", body_of(3));
  EXPECT_EQ(response.status, 500);
  EXPECT_EQ(error_of(response).at("code"), "non_finite");
  const json job = wait_until_over(submit(body_of(3)));
  EXPECT_EQ(job.at("state"), "failed");
  EXPECT_EQ(job.at("error").at("code"), "non_finite");
}

TEST_F(NativeApiTest, WhatTheNetworkThrowsIsNotTold) {
  calls_->before = [](const Tensor&, const Tensor&, const Tensor&) {
    throw std::runtime_error("/secret/path of the network");
  };
  const RawResponse response = post("/v1/generate", body_of(3));
  EXPECT_EQ(response.status, 500);
  EXPECT_THAT(response.body, ::testing::Not(HasSubstr("secret")));
  EXPECT_EQ(error_of(response).at("code"), "internal");
}

TEST_F(NativeApiTest, OptionsThatContradictEachOtherAreRefused) {
  const RawResponse response = post("/v1/jobs", {{"model", "fake"},
                                                 {"sampler",
                                                  {{"kind", "lms"},
                                                   {"order", 4},
                                                   {"sigma_min", 5.0},
                                                   {"sigma_max", 1.0},
                                                   {"levels", "karras"}}}});
  EXPECT_EQ(response.status, 422) << response.body;
  EXPECT_EQ(error_of(response).at("field"), "sampler");
}

TEST_F(NativeApiTest, AFullQueueSaysWhenToComeBack) {
  hold();
  RawResponse last;
  for (int i = 0; i < 70; ++i) {  // 64 images each; the engine takes 4096
    last = post("/v1/jobs", body_of(100, {{"num_images", 64}}));
    if (last.status != 202) break;
  }
  EXPECT_EQ(last.status, 429);
  EXPECT_EQ(error_of(last).at("code"), "queue_full");
  EXPECT_GE(std::stoi(last.field("Retry-After")), 1);
  for (const json& job : get_json("/v1/jobs?limit=100").at("data")) {
    remove("/v1/jobs/" + job.at("id").get<std::string>());
  }
}

TEST_F(NativeApiTest, AServerThatStopsTakesNothing) {
  test_.engine.drain(EngineClock::now() + std::chrono::seconds(10));
  const RawResponse response = post("/v1/jobs", body_of(3));
  EXPECT_EQ(response.status, 503);
  EXPECT_EQ(error_of(response).at("code"), "draining");
  EXPECT_FALSE(response.field("Retry-After").empty());
}

TEST_F(NativeApiTest, EveryRouteNeedsTheKey) {
  const std::string id = submit(body_of(1));
  wait_until_over(id);
  std::vector<std::string> targets{"/v1/models", "/v1/models/fake", "/v1/capabilities", "/v1/jobs"};
  for (const char* rest : {"", "/events", "/images/0.png", "/trace/0/x_t.png"}) {
    targets.push_back("/v1/jobs/" + id + rest);
  }
  for (const std::string& target : targets) {
    EXPECT_EQ(server_.get(target, /*with_key=*/false).status, 401) << target;
  }
  for (const char* target : {"/v1/jobs", "/v1/generate"}) {
    const std::string wrong = "POST " + std::string(target) +
                              " HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer " +
                              "wrong-key-0123456789012345\r\nContent-Type: application/json\r\n"
                              "Content-Length: 2\r\n\r\n{}";
    EXPECT_EQ(server_.ask(wrong).status, 401) << target;
  }
  const std::string wrong_delete =
      "DELETE /v1/jobs/" + id + " HTTP/1.1\r\nHost: localhost\r\nX-Api-Key: wrong\r\n\r\n";
  EXPECT_EQ(server_.ask(wrong_delete).status, 401);
  EXPECT_EQ(server_.get("/v1/jobs/" + id).status, 200) << "nothing was deleted";
}

TEST_F(NativeApiTest, WrongRequestsAreRefusedByTheirStatus) {
  const auto post_text = [&](const std::string& body, const std::string& type) {
    return server_.ask("POST /v1/jobs HTTP/1.1\r\nHost: localhost\r\n" + TestServer::key_field() +
                       "Content-Type: " + type +
                       "\r\nContent-Length: " + std::to_string(body.size()) + "\r\n\r\n" + body);
  };
  EXPECT_EQ(post_text("{", "application/json").status, 400);
  EXPECT_EQ(post_text("{}", "text/plain").status, 415);
  EXPECT_EQ(post_text(std::string(70'000, ' '), "application/json").status, 413);
  EXPECT_EQ(post_text("[]", "application/json").status, 422);
  EXPECT_EQ(post_text("{\"model\": \"\xff\"}", "application/json").status, 400);
  EXPECT_EQ(post_text(std::string(100, '['), "application/json").status, 400);
  EXPECT_EQ(server_.ask(request_text("POST", "/v1/models", {}, "{}")).status, 405);
  EXPECT_EQ(server_.get("/v1/other").status, 404);
  const RawResponse typo = post("/v1/jobs", {{"model", "fake"}, {"sampler", {{"stepz", 3}}}});
  EXPECT_EQ(typo.status, 422);
  EXPECT_EQ(error_of(typo).at("field"), "sampler.stepz");
  EXPECT_THAT(error_of(typo).at("message").get<std::string>(), HasSubstr("did you mean"));
  EXPECT_FALSE(error_of(typo).at("request_id").get<std::string>().empty());
}

}  // namespace
}  // namespace ddpm
