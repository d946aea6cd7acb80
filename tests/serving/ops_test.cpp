#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <set>
#include <sstream>
#include <thread>

#include "ddpm/serving/api/generation_options.h"
#include "ddpm/serving/api/ops_routes.h"
#include "ddpm/serving/api/prometheus_text.h"
#include "serving/test_service.h"

namespace ddpm {
namespace {

using testing::eventually;
using testing::FakeCalls;
using ::testing::HasSubstr;
using testing::TestServer;
using testing::TestService;

HttpRouter ops_routes(Service& service) {
  HttpRouter router;
  add_ops_routes(router, service);
  return router;
}

class OpsTest : public ::testing::Test {
 protected:
  /// A metric's value; -1: it isn't there.
  double metric(const std::string& series) const {
    std::istringstream lines(server_.get("/metrics").body);
    for (std::string line; std::getline(lines, line);) {
      if (line.starts_with(series + " ")) return std::stod(line.substr(series.size() + 1));
    }
    return -1;
  }
  /// Draws an image and waits for its job.
  JobSnapshot draw(int64_t steps) {
    JobRequest request = parse_generation(
        {{"model", "fake"}, {"seed", 1}, {"sampler", {{"kind", "ddim"}, {"steps", steps}}}},
        test_.models, {});
    const JobId id = test_.jobs.submit(std::move(request)).id;
    for (;;) {
      const auto job = test_.jobs.find(id);
      if (is_over(job->state)) return *job;
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
  }

  std::shared_ptr<FakeCalls> calls_ = std::make_shared<FakeCalls>();
  TestService test_{calls_};
  TestServer server_{ops_routes(test_.service), test_.metrics};
};

TEST_F(OpsTest, HealthIsPublicAndMetricsAreNot) {
  EXPECT_EQ(server_.get("/livez", /*with_key=*/false).status, 200);
  EXPECT_EQ(server_.get("/readyz", /*with_key=*/false).status, 200);
  EXPECT_EQ(server_.get("/metrics", /*with_key=*/false).status, 401);
  const RawResponse metrics = server_.get("/metrics");
  EXPECT_EQ(metrics.status, 200);
  EXPECT_THAT(metrics.field("Content-Type"), HasSubstr("version=0.0.4"));
}

TEST_F(OpsTest, AServerThatDrainsIsAliveButNotReady) {
  test_.service.is_draining = true;
  const RawResponse answer = server_.get("/readyz", /*with_key=*/false);
  EXPECT_EQ(answer.status, 503);
  EXPECT_THAT(answer.body, HasSubstr("\"draining\""));
  EXPECT_EQ(server_.get("/livez", /*with_key=*/false).status, 200);
}

TEST_F(OpsTest, AServerWhoseDeviceIsLostIsNotReady) {
  calls_->before = [](const Tensor&, const Tensor&, const Tensor&) {
    throw std::runtime_error("illegal memory access");
  };
  for (uint64_t i = 0; i < kLostDeviceCalls; ++i) {
    EXPECT_EQ(server_.get("/readyz", /*with_key=*/false).status, 200) << i;
    EXPECT_EQ(draw(2).state, JobState::kFailed);
  }
  EXPECT_TRUE(eventually([&] { return server_.get("/readyz", false).status == 503; }));
  calls_->before = {};
  EXPECT_EQ(draw(2).state, JobState::kSucceeded);
  EXPECT_TRUE(eventually([&] { return server_.get("/readyz", false).status == 200; }));
}

TEST_F(OpsTest, MetricsCountWhatHappened) {
  ASSERT_EQ(draw(7).state, JobState::kSucceeded);
  EXPECT_TRUE(eventually([&] { return metric("ddpm_engine_images_total") == 1; }));
  EXPECT_EQ(metric("ddpm_engine_rows_total"), 7);
  EXPECT_EQ(metric("ddpm_engine_batch_images_count"), 7);
  EXPECT_EQ(metric("ddpm_engine_batch_images_bucket{le=\"1\"}"), 7);
  EXPECT_EQ(metric("ddpm_engine_step_seconds_bucket{le=\"+Inf\"}"), 7);
  EXPECT_EQ(metric("ddpm_engine_requests_total{outcome=\"done\"}"), 1);
  EXPECT_EQ(metric("ddpm_engine_rejected_total{reason=\"queue_full\"}"), 0);
  EXPECT_EQ(metric("ddpm_models_resident"), 1);
  EXPECT_EQ(metric("ddpm_jobs{state=\"over\"}"), 1);
  EXPECT_GT(metric("ddpm_job_result_bytes"), 50);
  EXPECT_EQ(metric("ddpm_build_info{version=\"1.2.3\"}"), 1);
  EXPECT_GT(metric("process_resident_memory_bytes"), 1e6);
  EXPECT_GT(metric("process_cpu_seconds_total"), 0);
  EXPECT_GT(metric("process_open_fds"), 3);
}

TEST_F(OpsTest, EachFamilyIsDescribedOnceAndEveryLineIsWellFormed) {
  std::istringstream lines(server_.get("/metrics").body);
  std::set<std::string> described;
  for (std::string line; std::getline(lines, line);) {
    if (line.starts_with("# TYPE ")) {
      EXPECT_TRUE(described.insert(line.substr(7, line.find(' ', 7) - 7)).second) << line;
    }
    EXPECT_THAT(line, ::testing::ContainsRegex("^(# (HELP|TYPE) [a-z_]+ .+|[a-z_]+([{].*[}])? "
                                               "([-+0-9.e]+|[+]Inf))$"));
  }
  EXPECT_GT(described.size(), 30U);
}

TEST(PrometheusTextTest, HistogramsAreCumulative) {
  PrometheusText text;
  const double bounds[] = {1, 2.5};
  const uint64_t counts[] = {3, 0, 4};
  text.histogram("h", "Help.", bounds, counts, 12.5);
  EXPECT_EQ(text.text(),
            "# HELP h Help.\n# TYPE h histogram\nh_bucket{le=\"1\"} 3\nh_bucket{le=\"2.5\"} 3\n"
            "h_bucket{le=\"+Inf\"} 7\nh_sum 12.5\nh_count 7\n");
}

}  // namespace
}  // namespace ddpm
