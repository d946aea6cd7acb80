#pragma once

#include <string>
#include <vector>

#include "ddpm/serving/api/gradio_routes.h"
#include "serving/native_api.h"

namespace ddpm::testing {

/// A server with Gradio's routes beside the native ones, which say what images ought to come.
class GradioApi : public NativeApi {
 protected:
  static HttpRouter routes(Service& service) {
    HttpRouter router = native_routes(service);
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
  /// The messages of a session's stream up to its end.
  std::vector<json> messages(const std::string& session = "s1") {
    return messages_in(both_.get("/gradio_api/queue/data?session_hash=" + session));
  }
  /// Each message is one line of data, as Python's client takes no other.
  static std::vector<json> messages_in(const RawResponse& response) {
    EXPECT_EQ(response.status, 200);
    EXPECT_EQ(response.field("Content-Type"), "text/event-stream");
    std::vector<json> all;
    for (size_t at = 0; at < response.body.size();) {
      const size_t end = response.body.find("\n\n", at);
      const std::string line = response.body.substr(at, end - at);
      EXPECT_TRUE(line.starts_with("data: {")) << line;
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

  TestServer both_{routes(test_.service), test_.metrics};
};

}  // namespace ddpm::testing
