#pragma once

#include <ATen/Parallel.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <latch>
#include <memory>
#include <semaphore>
#include <string>
#include <vector>

#include "ddpm/serving/api/native_routes.h"
#include "serving/test_service.h"

namespace ddpm::testing {

using nlohmann::json;

inline HttpRouter native_routes(Service& service) {
  HttpRouter router;
  add_native_routes(router, service);
  return router;
}

inline JobsOptions with_frames() {
  JobsOptions options;
  options.encode_frame = encode_job_frame;
  options.progress_interval = std::chrono::milliseconds(0);
  return options;
}

/// An event of a stream.
struct StreamEvent {
  std::string id, name;
  json data;
};

inline std::vector<StreamEvent> events_in(const std::string& text) {
  std::vector<StreamEvent> events;
  StreamEvent event;
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

class NativeApi : public ::testing::Test {
 protected:
  void SetUp() override { at::set_num_threads(1); }
  void TearDown() override {
    release();
    allow_calls(kAllCalls);
  }
  /// Holds the network back until release().
  void hold() {
    calls_->before = [this](const Tensor&, const Tensor&, const Tensor&) { opened_.wait(); };
  }
  void release() {
    if (!is_open_) opened_.count_down();
    is_open_ = true;
  }
  /// Lets the network be called only so often as allow_calls() says.
  void count_calls() {
    calls_->before = [this](const Tensor&, const Tensor&, const Tensor&) { allowed_.acquire(); };
  }
  void allow_calls(int num_calls) { allowed_.release(num_calls); }

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

  static constexpr int kAllCalls = 100'000;
  std::counting_semaphore<> allowed_{0};
  std::latch opened_{1};
  bool is_open_ = false;
  std::shared_ptr<FakeCalls> calls_ = std::make_shared<FakeCalls>();
  TestService test_{calls_, with_frames()};
  TestServer server_{native_routes(test_.service), test_.metrics};
};

}  // namespace ddpm::testing
