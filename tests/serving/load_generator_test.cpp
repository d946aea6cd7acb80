#include "ddpm/serving/load/load_generator.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <atomic>
#include <chrono>
#include <mutex>
#include <set>
#include <stdexcept>
#include <string>
#include <thread>

#include "ddpm/serving/http/http_server.h"
#include "ddpm/serving/load/http_client.h"

namespace ddpm {
namespace {

using ::testing::HasSubstr;
using ::testing::ThrowsMessage;

/// Stands for `ddpm serve`: answers /v1/generate after as many milliseconds as steps are asked for.
class SlowServer {
 public:
  SlowServer() : server_({.port = 0, .worker_threads = 8}, routes()) { server_.start(); }
  ~SlowServer() { server_.stop(); }

  LoadOptions load() const {
    return {.port = server_.port(),
            .model = "garments",
            .steps = {5, 20},
            .clients = 4,
            .seconds = 0.5};
  }

  std::atomic<int> status = 200;
  std::atomic<int> most_open = 0;
  std::mutex mutex;
  std::set<int64_t> steps;  ///< that were asked for
  std::set<uint64_t> seeds;

 private:
  HttpRouter routes() {
    HttpRouter router;
    router.add({.method = HttpMethod::kPost,
                .pattern = "/v1/generate",
                .access = HttpAccess::kPublic,
                .handler = [this](const auto& request,
                                  const HttpResponder& responder) { answer(*request, responder); },
                .max_body_bytes = HttpRouter::kJsonBodyBytes,
                .on_worker = true});
    router.add(HttpMethod::kGet, "/metrics", HttpAccess::kPublic, [this](const HttpRequest&) {
      const std::string calls = std::to_string(calls_), images = std::to_string(3 * calls_);
      return HttpResponse{.body = "ddpm_engine_batch_images_sum " + images +
                                  "\nddpm_engine_batch_images_count " + calls + "\n",
                          .media_type = "text/plain"};
    });
    return router;
  }

  void answer(const HttpRequest& request, const HttpResponder& responder) {
    const auto body = nlohmann::json::parse(request.body);
    EXPECT_EQ(body.at("model"), "garments");
    const int64_t asked = body.at("sampler").at("steps");
    {
      const std::lock_guard lock(mutex);
      steps.insert(asked);
      seeds.insert(body.at("seed").get<uint64_t>());
    }
    const int open = ++open_;
    for (int seen = most_open; open > seen && !most_open.compare_exchange_weak(seen, open);) {
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(asked));
    ++calls_;
    --open_;
    responder.send({.status = status, .body = std::string("image"), .media_type = "image/png"});
  }

  std::atomic<int> open_ = 0, calls_ = 0;
  HttpServer server_;
};

TEST(LoadGeneratorTest, AClosedLoopKeepsAsManyRequestsOpenAsThereAreClients) {
  SlowServer server;
  const LoadReport report = generate_load(server.load());
  EXPECT_EQ(server.most_open, 4);
  EXPECT_EQ(server.steps, (std::set<int64_t>{5, 20}));
  EXPECT_GT(report.answered, 20);  // 4 clients, 12.5 ms each, half a second: 160 at most
  EXPECT_LE(report.answered, 400);
  EXPECT_EQ(server.seeds.size(), static_cast<size_t>(report.answered));
  EXPECT_EQ(report.images, report.answered);
  EXPECT_GE(report.image_steps, 5 * report.answered);
  EXPECT_LE(report.image_steps, 20 * report.answered);
  EXPECT_EQ(report.rejected + report.failed, 0);
  EXPECT_EQ(report.latencies.size(), static_cast<size_t>(report.answered));
  EXPECT_GE(report.latency(0), 0.005);
  EXPECT_LE(report.latency(0.5), report.latency(1));
  EXPECT_NEAR(report.mean_batch, 3, 1e-9);
}

// One client, 20 ms an answer, a request each 5 ms: they wait longer and longer, and it shows.
TEST(LoadGeneratorTest, AnOpenLoopCountsFromWhenARequestWasDue) {
  SlowServer server;
  LoadOptions load = server.load();
  load.clients = 1;
  load.steps = {20};
  load.rate = 200;
  load.seconds = 0.3;
  const LoadReport report = generate_load(load);
  EXPECT_EQ(server.most_open, 1);
  EXPECT_GT(report.answered, 20);
  EXPECT_GT(report.latency(1), 0.3);
  EXPECT_GT(report.seconds, 0.6);  // what was due is answered after the time of sending
}

TEST(LoadGeneratorTest, RejectionsAreCountedAndOtherAnswersEndTheRun) {
  SlowServer server;
  server.status = 429;
  const LoadReport rejected = generate_load(server.load());
  EXPECT_EQ(rejected.answered + rejected.failed, 0);
  EXPECT_GE(rejected.rejected, 4);
  server.status = 422;
  const LoadReport failed = generate_load(server.load());
  EXPECT_EQ(failed.failed, 4);  // each client's first
  EXPECT_THAT(failed.first_failure, HasSubstr("422: image"));
}

TEST(LoadGeneratorTest, SaysWhatItCannotDo) {
  LoadOptions load{.port = 1, .model = "garments"};  // nobody listens
  EXPECT_THAT([&] { generate_load(load); },
              ThrowsMessage<std::runtime_error>(HasSubstr("127.0.0.1:1")));
  load.clients = 0;
  EXPECT_THROW(generate_load(load), std::invalid_argument);
}

TEST(HttpClientTest, AKeptConnectionThatWasClosedIsOpenedAgain) {
  HttpRouter router;
  router.add(HttpMethod::kGet, "/", HttpAccess::kPublic, [](const HttpRequest&) {
    return HttpResponse{.body = std::string("here"), .media_type = "text/plain"};
  });
  HttpServer server({.port = 0, .timeouts = {.idle_ms = 50}}, router);
  server.start();
  HttpClient client("127.0.0.1", server.port());
  EXPECT_EQ(client.request(HttpMethod::kGet, "/").body, "here");
  std::this_thread::sleep_for(std::chrono::milliseconds(300));  // the server ends it
  EXPECT_EQ(client.request(HttpMethod::kGet, "/").body, "here");
}

}  // namespace
}  // namespace ddpm
