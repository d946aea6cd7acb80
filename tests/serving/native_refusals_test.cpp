#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <limits>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "serving/native_api.h"

namespace ddpm {
namespace {

using nlohmann::json;
using ::testing::HasSubstr;
using testing::TestServer;

class NativeRefusalsTest : public testing::NativeApi {};

TEST_F(NativeRefusalsTest, ADeadlineThatPassesIsTold) {
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

TEST_F(NativeRefusalsTest, AnswersThatAreNotFiniteAreNoImage) {
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

TEST_F(NativeRefusalsTest, WhatTheNetworkThrowsIsNotTold) {
  calls_->before = [](const Tensor&, const Tensor&, const Tensor&) {
    throw std::runtime_error("/secret/path of the network");
  };
  const RawResponse response = post("/v1/generate", body_of(3));
  EXPECT_EQ(response.status, 500);
  EXPECT_THAT(response.body, ::testing::Not(HasSubstr("secret")));
  EXPECT_EQ(error_of(response).at("code"), "internal");
}

TEST_F(NativeRefusalsTest, OptionsThatContradictEachOtherAreRefused) {
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

TEST_F(NativeRefusalsTest, AFullQueueSaysWhenToComeBack) {
  hold();
  RawResponse last;
  for (int i = 0; i < 70; ++i) {  // 64 images each; the engine takes 4096
    last = post("/v1/jobs", body_of(100, {{"num_images", 64}}));
    if (last.status != 202) break;
  }
  EXPECT_EQ(last.status, 429);
  EXPECT_EQ(error_of(last).at("code"), "queue_full");
  EXPECT_GE(std::stoi(last.field("Retry-After")), 1);
  const json listed = get_json("/v1/jobs?limit=100");
  for (const json& job : listed.at("data")) {
    remove("/v1/jobs/" + job.at("id").get<std::string>());
  }
}

TEST_F(NativeRefusalsTest, WhatFindsNoRoomIsNotBegun) {
  JobsOptions options;
  options.max_result_bytes = 2000;  // one image: 192 bytes of pixels, and 1 KiB
  hold();
  testing::TestService test(calls_, options);
  const TestServer server(testing::native_routes(test.service), test.metrics);
  const std::string request = request_text("POST", "/v1/jobs", {}, body_of(100).dump());
  EXPECT_EQ(server.ask(request).status, 202);
  const RawResponse refused = server.ask(request);
  EXPECT_EQ(refused.status, 429) << refused.body;
  EXPECT_EQ(error_of(refused).at("code"), "results_full");
  EXPECT_EQ(refused.field("Retry-After"), "5");
  EXPECT_EQ(test.jobs.stats().refused, 1U);
  release();
}

TEST_F(NativeRefusalsTest, AServerThatStopsTakesNothing) {
  test_.engine.drain(EngineClock::now() + std::chrono::seconds(10));
  const RawResponse response = post("/v1/jobs", body_of(3));
  EXPECT_EQ(response.status, 503);
  EXPECT_EQ(error_of(response).at("code"), "draining");
  EXPECT_FALSE(response.field("Retry-After").empty());
}

TEST_F(NativeRefusalsTest, EveryRouteNeedsTheKey) {
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

TEST_F(NativeRefusalsTest, WrongRequestsAreRefusedByTheirStatus) {
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
