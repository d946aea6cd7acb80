#include <ATen/Parallel.h>
#include <gtest/gtest.h>

#include "serving/fake_device.h"
#include "serving/fake_model.h"

namespace ddpm {
namespace {

using std::chrono::microseconds;
using testing::fake_model;
using testing::FakeCalls;
using testing::FakeDevice;
using testing::FakeEngine;
using testing::Told;

constexpr microseconds kCallLength{1500};
constexpr microseconds kPreparation{300};

EngineRequest paced_request(int64_t steps, int64_t images = 1) {
  return {.num_images = images, .sampler = {.kind = SamplerKind::kDdim, .steps = steps}};
}

/// An engine before a device that takes 1.5 ms a call, which the host prepares in 0.3 ms.
class EnginePaceTest : public ::testing::Test {
 protected:
  void SetUp() override {
    at::set_num_threads(1);
    calls_->before = [this](const Tensor&, const Tensor&, const Tensor&) {
      device_.now += kPreparation;
      device_.queue(kCallLength);
    };
  }

  std::unique_ptr<FakeEngine> engine_with(EngineOptions options) {
    options.tells_late = true;
    return std::make_unique<FakeEngine>(std::move(options), device_.clock());
  }

  /// As the engine's thread: waits until a tick is due. `meanwhile` happens in the middle.
  ///
  /// @return for how long it waited.
  EngineClock::duration tick(FakeEngine& engine, const std::function<void()>& meanwhile = {}) {
    const EngineClock::time_point begin = device_.now;
    const auto until = engine.core.next_tick().value_or(begin);
    if (meanwhile) {
      device_.now += (until - begin) / 2;
      meanwhile();
    }
    device_.now = std::max(device_.now, engine.core.next_tick().value_or(device_.now));
    const EngineClock::duration waited = device_.now - begin;
    engine.tick();
    return waited;
  }

  FakeDevice device_;
  std::shared_ptr<FakeCalls> calls_ = std::make_shared<FakeCalls>();
  std::shared_ptr<const EngineModel> model_ = fake_model(calls_);
};

TEST_F(EnginePaceTest, WhoComesWhileACallRunsIsInTheNextOne) {
  const auto engine = engine_with({});
  engine->add(model_, paced_request(1000));
  for (int i = 0; i < 100; ++i) tick(*engine);
  EXPECT_EQ(calls_->batches.back(), 1);
  const EngineClock::time_point running_ends = device_.end;
  tick(*engine, [&] { engine->add(model_, paced_request(10)); });
  EXPECT_EQ(calls_->batches.back(), 2);
  EXPECT_EQ(device_.end, running_ends + kCallLength) << "right behind the call that ran";
}

TEST_F(EnginePaceTest, APictureIsToldOfAsItsCallEnds) {
  const auto engine = engine_with({});
  engine->add(model_, paced_request(1000));
  for (int i = 0; i < 100; ++i) tick(*engine);
  const auto told = engine->add(model_, paced_request(5));
  EngineClock::time_point last_call_ends;
  while (told->ends.empty()) {
    last_call_ends = device_.end;  // of the call that was launched before the next tick's
    tick(*engine);
  }
  EXPECT_EQ(device_.now, last_call_ends);
}

TEST_F(EnginePaceTest, TheDeviceIsNotIdleWhileThereIsWork) {
  const auto engine = engine_with({});
  engine->add(model_, paced_request(1000));
  EngineClock::duration waited{0};
  for (int i = 0; i < 900; ++i) waited += tick(*engine);
  EXPECT_GT(waited / 900, kCallLength / 2);
  EXPECT_LT(device_.idle, 900 * kCallLength / 200);
}

TEST_F(EnginePaceTest, AFullBatchIsLaunchedAtOnce) {
  const auto by_rows = engine_with({.max_batch = 4});
  by_rows->add(model_, paced_request(100, 4));
  for (int i = 0; i < 90; ++i) EXPECT_EQ(tick(*by_rows), EngineClock::duration::zero());
  by_rows->core.stop();
  const auto by_slots = engine_with({.max_in_flight = 2});
  by_slots->add(model_, paced_request(100));
  by_slots->add(model_, paced_request(100));
  for (int i = 0; i < 90; ++i) EXPECT_EQ(tick(*by_slots), EngineClock::duration::zero());
}

TEST_F(EnginePaceTest, ABatchThatFillsUpIsLaunchedAtOnce) {
  const auto engine = engine_with({.max_batch = 4});
  engine->add(model_, paced_request(1000, 3));
  for (int i = 0; i < 100; ++i) tick(*engine);
  const auto until = engine->core.next_tick();
  ASSERT_TRUE(until && *until > device_.now);
  engine->add(model_, paced_request(10));
  EXPECT_FALSE(engine->core.next_tick());
}

TEST_F(EnginePaceTest, TheLastPictureIsNotWaitedWith) {
  const auto engine = engine_with({});
  const auto told = engine->add(model_, paced_request(50));
  for (int i = 0; i < 50; ++i) tick(*engine);
  EXPECT_TRUE(told->ends.empty());
  EXPECT_FALSE(engine->core.next_tick()) << "there is no call to launch, but one to tell of";
  tick(*engine);
  EXPECT_TRUE(told->has_ended_as(RequestOutcome::kDone));
  EXPECT_FALSE(engine->core.next_tick());
}

TEST_F(EnginePaceTest, CancelledAndLateRequestsEndInTheTickThatWasWaitedFor) {
  const auto engine = engine_with({});
  const auto cancelled = engine->add(model_, paced_request(1000));
  const auto other = engine->add(model_, paced_request(1000));
  for (int i = 0; i < 100; ++i) tick(*engine);
  tick(*engine, [&] { engine->core.cancel(1); });
  EXPECT_TRUE(cancelled->has_ended_as(RequestOutcome::kCancelled));
  EXPECT_EQ(calls_->batches.back(), 1);
  engine->core.cancel(2);
  tick(*engine);
  EXPECT_TRUE(other->has_ended_as(RequestOutcome::kCancelled));
  EXPECT_TRUE(engine->core.is_idle());
}

TEST_F(EnginePaceTest, ACallThatFailsHoldsNothingUp) {
  const auto engine = engine_with({});
  const auto failed = engine->add(model_, paced_request(1000));
  for (int i = 0; i < 100; ++i) tick(*engine);
  const auto working = calls_->before;
  calls_->before = [](const Tensor&, const Tensor&, const Tensor&) {
    throw std::runtime_error("no");
  };
  tick(*engine);
  EXPECT_TRUE(failed->has_ended_as(RequestOutcome::kFailed));
  calls_->before = working;
  const auto next = engine->add(model_, paced_request(20));
  for (int i = 0; i < 30 && next->ends.empty(); ++i) tick(*engine);
  EXPECT_TRUE(next->has_ended_as(RequestOutcome::kDone));
}

TEST_F(EnginePaceTest, OnACpuNothingIsWaitedFor) {
  FakeEngine engine;
  engine.add(model_, paced_request(100));
  for (int i = 0; i < 90; ++i) {
    EXPECT_FALSE(engine.core.next_tick());
    engine.tick();
  }
}

}  // namespace
}  // namespace ddpm
