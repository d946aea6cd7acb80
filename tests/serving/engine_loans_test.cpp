#include "ddpm/serving/engine/engine_loans.h"

#include <ATen/Parallel.h>
#include <gtest/gtest.h>

#include <atomic>
#include <future>
#include <latch>
#include <stdexcept>
#include <thread>

#include "ddpm/serving/engine/engine.h"
#include "serving/fake_model.h"

namespace ddpm {
namespace {

using testing::fake_answer;
using testing::fake_model;
using testing::FakeCalls;

const Tensor kNoLabels;

class EngineLoansTest : public ::testing::Test {
 protected:
  void SetUp() override { at::set_num_threads(1); }

  std::shared_ptr<FakeCalls> calls_ = std::make_shared<FakeCalls>();
  std::shared_ptr<EngineModel> model_ = fake_model(calls_);
  Tensor x_ = at::arange(64, at::kFloat).view({2, 2, 4, 4}) / 64;
  Tensor t_ = at::full({2}, 7, at::kLong);
};

TEST_F(EngineLoansTest, TheEnginesThreadMakesTheCall) {
  std::thread::id caller;
  calls_->before = [&](const Tensor&, const Tensor&, const Tensor&) {
    caller = std::this_thread::get_id();
  };
  Engine engine({model_}, {});
  const EngineNetwork network = engine.lend_network(model_);
  const Tensor answer = network(x_, t_, kNoLabels);
  EXPECT_TRUE(answer.equal(fake_answer(x_, t_, kNoLabels, /*variance=*/false)));
  EXPECT_NE(caller, std::this_thread::get_id());
  network(x_, t_, kNoLabels);
  EXPECT_EQ(calls_->loads, 1);
}

TEST_F(EngineLoansTest, RequestsAreDrawnBetweenTheCalls) {
  Engine engine({model_}, {});
  std::promise<void> ended;
  std::atomic<bool> stops = false;
  std::atomic<int> lent = 0;
  std::thread borrower([&] {
    const EngineNetwork network = engine.lend_network(model_);
    while (!stops) {
      network(x_, t_, kNoLabels);
      ++lent;
    }
  });
  engine.submit({.model = "fake", .sampler = {.kind = SamplerKind::kDdim, .steps = 200}},
                {.end = [&](const RequestEnd&) { ended.set_value(); }});
  EXPECT_EQ(ended.get_future().wait_for(std::chrono::seconds(30)), std::future_status::ready);
  stops = true;
  borrower.join();
  EXPECT_GT(lent, 0);
}

TEST_F(EngineLoansTest, ALentModelStaysInMemoryAndMakesRoomWhenItIsGivenBack) {
  const auto others_calls = std::make_shared<FakeCalls>();
  const auto other = fake_model(others_calls, {.id = "other"});
  Engine engine({model_, other}, {.max_model_bytes = 150});  // one of 100 each
  std::promise<void> ended;
  {
    const EngineNetwork network = engine.lend_network(model_);
    network(x_, t_, kNoLabels);
    engine.submit({.model = "other", .sampler = {.kind = SamplerKind::kDdim, .steps = 2}},
                  {.end = [&](const RequestEnd&) { ended.set_value(); }});
    for (int i = 0; i < 50; ++i) network(x_, t_, kNoLabels);
    EXPECT_EQ(calls_->loads, 1);
    EXPECT_EQ(others_calls->loads, 0);
  }
  EXPECT_EQ(ended.get_future().wait_for(std::chrono::seconds(30)), std::future_status::ready);
  EXPECT_EQ(others_calls->loads, 1);
}

TEST_F(EngineLoansTest, TheBorrowerGetsWhatTheNetworkOrItsReadingThrows) {
  calls_->before = [](const Tensor&, const Tensor&, const Tensor&) {
    throw std::domain_error("no such number");
  };
  const auto broken = fake_model(calls_, {.id = "broken"});
  broken->load = []() -> EngineNetwork { throw std::runtime_error("the file is damaged"); };
  Engine engine({model_, broken}, {});
  EXPECT_THROW(engine.lend_network(model_)(x_, t_, kNoLabels), std::domain_error);
  EXPECT_THROW(engine.lend_network(broken)(x_, t_, kNoLabels), std::runtime_error);
  calls_->before = {};
  EXPECT_TRUE(engine.lend_network(model_)(x_, t_, kNoLabels).defined());  // and goes on
}

TEST_F(EngineLoansTest, AnEngineThatStopsRefusesWhoWaits) {
  std::latch opened(1);
  std::promise<void> begun;
  calls_->before = [&](const Tensor&, const Tensor&, const Tensor&) {
    if (calls_->batches.size() == 1) begun.set_value();
    opened.wait();
  };
  auto engine = std::make_unique<Engine>(Engine::Models{model_}, EngineOptions());
  engine->submit({.model = "fake", .sampler = {.kind = SamplerKind::kDdim, .steps = 5}}, {});
  begun.get_future().wait();
  std::promise<bool> refused;
  std::thread borrower([&, network = engine->lend_network(model_)] {
    try {
      for (;;) network(x_, t_, kNoLabels);
    } catch (const EngineRejected& rejected) {
      refused.set_value(rejected.reason == RejectReason::kDraining);
    }
  });
  std::this_thread::sleep_for(std::chrono::milliseconds(50));
  std::thread ending([&] { engine->drain(EngineClock::now()); });
  opened.count_down();
  ending.join();
  borrower.join();
  EXPECT_TRUE(refused.get_future().get());
  EXPECT_THROW(engine->lend_network(model_)(x_, t_, kNoLabels), EngineRejected);
}

}  // namespace
}  // namespace ddpm
