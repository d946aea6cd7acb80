#include <ATen/Parallel.h>
#include <gtest/gtest.h>

#include <array>
#include <barrier>
#include <latch>
#include <string>
#include <thread>

#include "ddpm/serving/jobs/jobs.h"
#include "serving/fake_model.h"

namespace ddpm {
namespace {

using std::chrono::seconds;
using testing::fake_model;
using testing::FakeCalls;

/// Idempotency keys of clients that ask at the same time.
class JobsKeysTest : public ::testing::Test {
 protected:
  void SetUp() override {
    at::set_num_threads(1);
    calls_->before = [this](const Tensor&, const Tensor&, const Tensor&) { opened_.wait(); };
  }
  void TearDown() override {
    opened_.count_down();
    EXPECT_TRUE(engine_.drain(EngineClock::now() + seconds(60)));
  }
  static JobImage encode_as_name(const JobRequest&, int64_t, const Tensor&) {
    return {"image", "text/plain"};
  }
  static JobRequest keyed(const std::string& key) {
    JobRequest request;
    request.engine.model = "fake";
    request.engine.sampler.steps = 3;
    request.idempotency_key = key;
    return request;
  }
  /// The ids that two clients of one key get who ask at once; empty where one was rejected.
  std::array<JobId, 2> ask_at_once(const std::string& key) {
    std::array<JobId, 2> ids;
    std::barrier together(2);
    const auto ask = [&](JobId& id) {
      together.arrive_and_wait();
      try {
        id = jobs_.submit(keyed(key)).id;
      } catch (const EngineRejected&) {
        id.clear();
      }
    };
    std::thread other([&] { ask(ids[1]); });
    ask(ids[0]);
    other.join();
    return ids;
  }

  std::shared_ptr<FakeCalls> calls_ = std::make_shared<FakeCalls>();
  std::latch opened_{1};
  Engine engine_{{fake_model(calls_)}, {.max_open_images = 20}};
  Jobs jobs_{engine_, encode_as_name};
};

TEST_F(JobsKeysTest, TwoWhoAskAtOnceGetOneJob) {
  for (int i = 0; i < 20; ++i) {
    const auto ids = ask_at_once(std::to_string(i));
    EXPECT_FALSE(ids[0].empty());
    EXPECT_EQ(ids[0], ids[1]);
  }
  EXPECT_EQ(jobs_.list(100).size(), 20U);
  EXPECT_EQ(engine_.stats().open_requests, 20);
}

TEST_F(JobsKeysTest, NobodyIsAnsweredWithAJobThatTheEngineRejects) {
  for (int i = 0; i < 20; ++i) jobs_.submit(keyed(std::to_string(i)));
  for (int i = 20; i < 500; ++i) {
    const auto ids = ask_at_once(std::to_string(i));
    ASSERT_EQ(ids[0] + ids[1], "") << "of key " << i;
  }
  EXPECT_EQ(jobs_.list(100).size(), 20U);
}

}  // namespace
}  // namespace ddpm
