#pragma once

#include <ATen/ATen.h>

#include <chrono>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "ddpm/serving/api/image_encoding.h"
#include "ddpm/serving/api/service.h"
#include "ddpm/serving/http/http_server.h"
#include "serving/raw_client.h"
#include "serving/served_fake.h"

namespace ddpm::testing {

/// Everything behind the routes, with one model: "fake", 3x8x8 images of the classes boot and
/// shirt, unless others are given.
struct TestService {
  explicit TestService(const std::shared_ptr<FakeCalls>& fake_calls, JobsOptions jobs_options = {})
      : TestService({served_fake({.num_classes = 2, .channels = 3, .calls = fake_calls})},
                    std::move(jobs_options)) {}
  explicit TestService(std::vector<ServedModel> served, JobsOptions jobs_options = {})
      : models(std::move(served)),
        engine(models.engine_models(), {}),
        jobs(engine, encode_job_image, std::move(jobs_options)),
        watcher(jobs) {
    service.version = "1.2.3";
  }
  ~TestService() { engine.drain(EngineClock::now()); }

  MetricsRegistry metrics;
  ServedModels models;
  Engine engine;
  Jobs jobs;
  JobWatcher watcher;
  Service service{engine, jobs, watcher, models, metrics};
};

/// Waits until `fact` holds; false after `patience_ms`.
template <typename Fact>
bool eventually(const Fact& fact, int patience_ms = 10'000) {
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::milliseconds(patience_ms);
  while (!fact()) {
    if (std::chrono::steady_clock::now() > deadline) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  return true;
}

/// A server on a free port with the key kServiceKey.
inline const std::string kServiceKey = "service-test-key-0123456789";

class TestServer {
 public:
  TestServer(HttpRouter router, MetricsRegistry& metrics) {
    HttpServerOptions options;
    options.port = 0;
    options.keys = {kServiceKey};
    options.metrics = &metrics;
    options.access_log = [](const std::string&) {};
    server_ = std::make_unique<HttpServer>(std::move(options), std::move(router));
    server_->start();
  }

  int port() const { return server_->port(); }
  RawResponse ask(const std::string& request) const { return RawClient(port()).ask(request); }
  RawResponse get(const std::string& target, bool with_key = true) const {
    return ask("GET " + target + " HTTP/1.1\r\nHost: localhost\r\n" + key_field(with_key) + "\r\n");
  }
  static std::string key_field(bool with_key = true) {
    return with_key ? "Authorization: Bearer " + kServiceKey + "\r\n" : std::string();
  }

 private:
  std::unique_ptr<HttpServer> server_;
};

/// A multipart/form-data request.
struct TestForm {
  std::vector<std::pair<std::string, std::string>> fields = {};
  std::vector<std::pair<std::string, std::string>> files = {};

  std::string body() const {
    std::string text;
    for (const auto& [name, value] : fields) {
      text += "--bound\r\nContent-Disposition: form-data; name=\"" + name + "\"\r\n\r\n" + value +
              "\r\n";
    }
    for (const auto& [name, bytes] : files) {
      text += "--bound\r\nContent-Disposition: form-data; name=\"" + name +
              "\"; filename=\"a.png\"\r\nContent-Type: image/png\r\n\r\n" + bytes + "\r\n";
    }
    return text + "--bound--\r\n";
  }
  std::string post(const std::string& target, bool with_key = true) const {
    const std::string bytes = body();
    return "POST " + target + " HTTP/1.1\r\nHost: localhost\r\n" + TestServer::key_field(with_key) +
           "Content-Type: multipart/form-data; boundary=bound\r\nContent-Length: " +
           std::to_string(bytes.size()) + "\r\n\r\n" + bytes;
  }
};

}  // namespace ddpm::testing
