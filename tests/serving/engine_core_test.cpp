#include "ddpm/serving/engine/engine_core.h"

#include <ATen/Parallel.h>
#include <gtest/gtest.h>

#include <limits>
#include <stdexcept>

#include "serving/fake_model.h"

namespace ddpm {
namespace {

using std::chrono::milliseconds;
using testing::fake_model;
using testing::FakeCalls;
using testing::FakeEngine;
using testing::Told;

EngineRequest ddim(int64_t steps, int64_t num_images = 1) {
  return {.num_images = num_images, .sampler = {.kind = SamplerKind::kDdim, .steps = steps}};
}

class EngineCoreTest : public ::testing::Test {
 protected:
  void SetUp() override { at::set_num_threads(1); }
  std::shared_ptr<FakeCalls> calls_ = std::make_shared<FakeCalls>();
};

TEST_F(EngineCoreTest, ALongRequestIsNotStarvedByAStreamOfShortOnesNorTheyByIt) {
  const auto model = fake_model(calls_);
  FakeEngine engine({.max_batch = 2});
  const auto long_one = engine.add(model, ddim(1000));
  int64_t slowest = 0;
  int64_t ticks = 0;
  // Three short requests at any time, for two rows a tick: each of four gets half a row.
  std::vector<std::pair<std::shared_ptr<Told>, int64_t>> short_ones;
  while (long_one->ends.empty() && ticks < 10'000) {
    while (short_ones.size() < 3) short_ones.emplace_back(engine.add(model, ddim(10)), ticks);
    engine.tick();
    ++ticks;
    std::erase_if(short_ones, [&](const auto& one) {
      if (one.first->ends.empty()) return false;
      slowest = std::max(slowest, ticks - one.second);
      return true;
    });
  }
  // Half of the ticks are the long one's, but that newcomers start level with the least served.
  EXPECT_LE(ticks, 2 * 1000 * 1.1);
  EXPECT_LE(slowest, 2 * 10 + 4) << "as if nobody waited but the three beside it";
}

TEST_F(EngineCoreTest, AManyImageRequestLeavesASingleImageItsShare) {
  const auto model = fake_model(calls_);
  FakeEngine engine({.max_batch = 4});
  const auto many = engine.add(model, ddim(20, 100));
  for (int i = 0; i < 5; ++i) engine.tick();
  const auto single = engine.add(model, ddim(20));
  int64_t ticks = 0;
  while (single->ends.empty()) {
    engine.tick();
    ++ticks;
  }
  EXPECT_EQ(ticks, 20) << "a row of each tick";
  engine.run();
  EXPECT_EQ(many->images.size(), 100U);
}

TEST_F(EngineCoreTest, PrioritiesAreSharesOfFourToOne) {
  const auto model = fake_model(calls_);
  FakeEngine engine({.max_batch = 2});
  EngineRequest request = ddim(100, 2);
  const auto ordinary = engine.add(model, request);
  request.priority = 1;
  const auto urgent = engine.add(model, request);
  for (int i = 0; i < 50; ++i) engine.tick();
  EXPECT_NEAR(static_cast<double>(urgent->progress.size()), 80, 3);
  EXPECT_NEAR(static_cast<double>(ordinary->progress.size()), 20, 3);
}

TEST_F(EngineCoreTest, NewImagesJoinAtTheNextTickAndFinishedOnesLeave) {
  const auto model = fake_model(calls_);
  FakeEngine engine;
  engine.add(model, ddim(4));
  engine.tick();
  engine.add(model, ddim(3, 2));
  engine.run();
  EXPECT_EQ(calls_->batches, (std::vector<int64_t>{1, 3, 3, 3}));
}

TEST_F(EngineCoreTest, ImagesInFlightAreBoundedByCountAndByBytes) {
  const auto model = fake_model(calls_);
  FakeEngine by_count({.max_in_flight = 3});
  by_count.add(model, ddim(5, 40));
  const auto small = by_count.add(model, ddim(5));
  while (!by_count.core.is_idle()) {
    by_count.tick();
    EXPECT_LE(by_count.core.stats().in_flight_images, 3);
  }
  EXPECT_TRUE(small->has_ended_as(RequestOutcome::kDone));
  FakeEngine by_bytes({.max_state_bytes = 5 * max_slot_bytes({2, 4, 4}) + 1});
  const auto told = by_bytes.add(model, ddim(5, 40));
  by_bytes.tick();
  EXPECT_EQ(by_bytes.core.stats().in_flight_images, 5 - 1)
      << "the last quarter is kept, at least 1";
  by_bytes.run();
  EXPECT_EQ(told->images.size(), 40U);
}

TEST_F(EngineCoreTest, ACancelledRequestLeavesAtTheNextTickWhereverItStands) {
  const auto model = fake_model(calls_);
  FakeEngine engine({.max_in_flight = 4});
  const auto running = engine.add(model, ddim(50, 2));
  const auto other = engine.add(model, ddim(50));
  engine.tick();
  const auto waiting = engine.add(model, ddim(50));
  engine.core.cancel(1);
  engine.core.cancel(3);
  engine.core.cancel(77);
  engine.tick();
  EXPECT_TRUE(running->has_ended_as(RequestOutcome::kCancelled));
  EXPECT_TRUE(waiting->has_ended_as(RequestOutcome::kCancelled));
  EXPECT_EQ(calls_->batches.back(), 1);
  EXPECT_EQ(engine.core.stats().in_flight_images, 1);
  engine.run();
  EXPECT_TRUE(other->has_ended_as(RequestOutcome::kDone));
}

TEST_F(EngineCoreTest, RequestsPastTheirDeadlineEndAsTimedOut) {
  const auto model = fake_model(calls_);
  FakeEngine engine({.max_batch = 2});
  EngineRequest request = ddim(100);
  request.deadline = engine.now + milliseconds(55);
  const auto late = engine.add(model, request);
  request.sampler.steps = 4;
  const auto in_time = engine.add(model, request);
  EXPECT_EQ(engine.core.next_deadline(), *request.deadline);
  engine.run();
  EXPECT_TRUE(late->has_ended_as(RequestOutcome::kTimedOut));
  EXPECT_EQ(late->progress.size(), 5U);
  EXPECT_TRUE(in_time->has_ended_as(RequestOutcome::kDone));
}

TEST_F(EngineCoreTest, ANonFiniteImageEndsAlone) {
  const auto model = fake_model(calls_);
  FakeEngine engine;
  EngineRequest request = ddim(10, 3);
  request.sampler.clip = X0Clip::kNone;
  const auto told = engine.add(model, request);
  const auto other = engine.add(model, request);
  calls_->before = [this](const Tensor& x, const Tensor&, const Tensor&) {
    if (calls_->batches.size() == 4) x[1].fill_(std::numeric_limits<float>::quiet_NaN());
  };
  engine.run();
  EXPECT_TRUE(told->has_ended_as(RequestOutcome::kNonFinite) ^
              other->has_ended_as(RequestOutcome::kNonFinite));
  const Told& hit = told->has_ended_as(RequestOutcome::kNonFinite) ? *told : *other;
  int64_t finite = 0;
  for (const auto& [image, result] : hit.images) {
    if (result.is_finite) ++finite;
    EXPECT_EQ(result.x.defined(), result.is_finite);
  }
  EXPECT_EQ(finite, 2);
  EXPECT_EQ(calls_->batches[4], 5) << "it left at once";
  EXPECT_EQ(engine.core.stats().images_non_finite, 1U);
}

TEST_F(EngineCoreTest, AThrowingNetworkFailsItsBatchAndTheEngineGoesOn) {
  const auto model = fake_model(calls_);
  FakeEngine engine({.max_batch = 2});
  calls_->before = [this](const Tensor&, const Tensor&, const Tensor&) {
    if (calls_->batches.size() == 3) throw std::runtime_error("no kernel image");
  };
  const auto first = engine.add(model, ddim(8, 2));
  engine.tick();
  engine.tick();
  engine.tick();
  EXPECT_TRUE(first->has_ended_as(RequestOutcome::kFailed));
  EXPECT_EQ(first->ends.front().message, "no kernel image");
  EXPECT_EQ(engine.core.stats().failed_calls_in_row, 1U);
  const auto second = engine.add(model, ddim(8, 2));
  engine.run();
  EXPECT_TRUE(second->has_ended_as(RequestOutcome::kDone));
  EXPECT_EQ(engine.core.stats().failed_calls, 1U);
  EXPECT_EQ(engine.core.stats().failed_calls_in_row, 0U);
}

TEST_F(EngineCoreTest, OutOfMemoryMakesBatchesSmallerAndLosesNothing) {
  const auto model = fake_model(calls_);
  FakeEngine engine({.max_batch = 16});
  calls_->before = [](const Tensor& x, const Tensor&, const Tensor&) {
    if (x.size(0) > 5) TORCH_CHECK_WITH(OutOfMemoryError, false, "too large");
  };
  const auto told = engine.add(model, ddim(6, 12));
  engine.run();
  EXPECT_TRUE(told->has_ended_as(RequestOutcome::kDone));
  EXPECT_EQ(told->images.size(), 12U);
  EXPECT_EQ(engine.core.stats().out_of_memory, 2U) << "12 rows, then 6, then 3 at a time";
}

TEST_F(EngineCoreTest, EventsThatThrowHurtNobody) {
  const auto model = fake_model(calls_);
  FakeEngine engine;
  EngineEvents events;
  events.progress = [](const ImageProgress&) { throw std::runtime_error("progress"); };
  events.end = [](const RequestEnd&) { throw std::runtime_error("end"); };
  auto open = open_request(ddim(3), events, model, engine.options, engine.plans);
  open->ticket = 99;
  engine.core.accept(std::move(open));
  const auto other = engine.add(model, ddim(3));
  engine.run();
  EXPECT_TRUE(other->has_ended_as(RequestOutcome::kDone));
}

TEST_F(EngineCoreTest, StoppingEndsEachRequestOnce) {
  const auto model = fake_model(calls_);
  FakeEngine engine({.max_in_flight = 2});
  std::vector<std::shared_ptr<Told>> all;
  for (int i = 0; i < 5; ++i) all.push_back(engine.add(model, ddim(9)));
  engine.tick();
  engine.core.stop();
  for (const auto& told : all) EXPECT_TRUE(told->has_ended_as(RequestOutcome::kStopped));
  EXPECT_TRUE(engine.core.is_idle());
  EXPECT_FALSE(engine.tick());
}

}  // namespace
}  // namespace ddpm
