#include <ATen/Parallel.h>
#include <gtest/gtest.h>

#include <limits>

#include "serving/fake_model.h"

namespace ddpm {
namespace {

using testing::fake_model;
using testing::FakeCalls;
using testing::FakeEngine;
using testing::Told;

EngineRequest late_request(uint64_t seed, int64_t steps, int64_t images = 1) {
  return {.seed = seed,
          .num_images = images,
          .sampler = {.kind = SamplerKind::kDdim, .steps = steps},
          .wants_previews = true};
}

/// An engine that tells of a call after the next one, as on a GPU.
class EngineLateTest : public ::testing::Test {
 protected:
  void SetUp() override { at::set_num_threads(1); }
  static EngineOptions late_options() {
    return {
        .preview_every = 3, .preview_interval = std::chrono::milliseconds(0), .tells_late = true};
  }

  std::shared_ptr<FakeCalls> calls_ = std::make_shared<FakeCalls>();
};

TEST_F(EngineLateTest, EverythingIsToldAsOnTime) {
  const auto model = fake_model(calls_);
  FakeEngine late(late_options());
  FakeEngine on_time({.preview_every = 3, .preview_interval = std::chrono::milliseconds(0)});
  std::vector<std::pair<std::shared_ptr<Told>, std::shared_ptr<Told>>> told;
  for (int64_t i = 0; i < 8; ++i) {
    EngineRequest request = late_request(static_cast<uint64_t>(i), 1 + 3 * i, 1 + i % 3);
    request.trace_frames = i % 2 == 0 ? 2 : 0;
    told.emplace_back(late.add(model, request), on_time.add(model, request));
    late.tick();
    on_time.tick();
  }
  late.run();
  on_time.run();
  for (const auto& [a, b] : told) {
    ASSERT_TRUE(a->has_ended_as(RequestOutcome::kDone));
    ASSERT_EQ(a->images.size(), b->images.size());
    for (const auto& [image, result] : b->images) {
      EXPECT_TRUE(at::equal(a->pixels(image), result.x)) << "bit for bit";
    }
    EXPECT_EQ(a->starts, 1);
    EXPECT_EQ(a->traces.size(), b->traces.size());
    ASSERT_EQ(a->progress.size(), b->progress.size());
    for (size_t i = 0; i < b->progress.size(); ++i) {
      EXPECT_EQ(a->progress[i].image, b->progress[i].image);
      EXPECT_EQ(a->progress[i].step, b->progress[i].step);
      EXPECT_EQ(a->progress[i].t, b->progress[i].t);
      EXPECT_EQ(a->progress[i].pred_x_start.defined(), b->progress[i].pred_x_start.defined());
    }
  }
  EXPECT_EQ(late.core.stats().images_done, on_time.core.stats().images_done);
  EXPECT_EQ(late.core.stats().in_flight_images, 0);
}

TEST_F(EngineLateTest, ImagesThatAreDrawnMakeRoomBeforeTheyAreToldOf) {
  const auto model = fake_model(calls_);
  FakeEngine engine({.max_in_flight = 2, .tells_late = true});
  const auto first = engine.add(model, late_request(1, 3, 2));
  const auto second = engine.add(model, late_request(2, 3, 2));
  engine.run();
  EXPECT_TRUE(first->has_ended_as(RequestOutcome::kDone));
  EXPECT_TRUE(second->has_ended_as(RequestOutcome::kDone));
  EXPECT_EQ(calls_->batches, (std::vector<int64_t>{2, 2, 2, 2, 2, 2})) << "no call waited";
}

TEST_F(EngineLateTest, WhoeverEndsMeanwhileIsToldOfOnce) {
  const auto model = fake_model(calls_);
  FakeEngine engine(late_options());
  const auto cancelled = engine.add(model, late_request(1, 4));
  const auto other = engine.add(model, late_request(2, 9));
  for (int i = 0; i < 4; ++i) engine.tick();  // drawn, not told of
  engine.core.cancel(1);
  engine.run();
  EXPECT_TRUE(cancelled->has_ended_as(RequestOutcome::kCancelled));
  EXPECT_TRUE(cancelled->images.empty());
  EXPECT_TRUE(other->has_ended_as(RequestOutcome::kDone));
  const auto stopped = engine.add(model, late_request(3, 1));
  engine.tick();
  EXPECT_TRUE(stopped->ends.empty());
  engine.core.stop();
  EXPECT_TRUE(stopped->has_ended_as(RequestOutcome::kDone)) << "it was drawn before";
}

TEST_F(EngineLateTest, ANonFiniteImageIsToldOfOnceThoughTheNextCallHadIt) {
  const auto model = fake_model(calls_);
  for (const size_t bad_call : {size_t{3}, size_t{4}}) {  // in its middle, and in its last but one
    calls_->batches.clear();
    FakeEngine engine(late_options());
    EngineRequest request = late_request(1, 5, 3);
    request.sampler.clip = X0Clip::kNone;
    const auto told = engine.add(model, request);
    calls_->before = [this, bad_call](const Tensor& x, const Tensor&, const Tensor&) {
      if (calls_->batches.size() == bad_call) {
        x[1].fill_(std::numeric_limits<float>::quiet_NaN());
      }
    };
    engine.run();
    EXPECT_TRUE(told->has_ended_as(RequestOutcome::kNonFinite));
    EXPECT_EQ(told->images.size(), 3U);
    EXPECT_EQ(engine.core.stats().images_non_finite, 1U);
    EXPECT_EQ(engine.core.stats().images_done, 2U);
    EXPECT_EQ(engine.core.stats().in_flight_images, 0);
  }
}

TEST_F(EngineLateTest, ANetworkThatThrowsLosesNothingThatWasDrawn) {
  const auto model = fake_model(calls_);
  FakeEngine engine(late_options());
  const auto drawn = engine.add(model, late_request(1, 2));
  const auto failed = engine.add(model, late_request(2, 5));
  calls_->before = [this](const Tensor&, const Tensor&, const Tensor&) {
    if (calls_->batches.size() == 3) throw std::runtime_error("no");
  };
  engine.run();
  EXPECT_TRUE(drawn->has_ended_as(RequestOutcome::kDone));
  EXPECT_TRUE(failed->has_ended_as(RequestOutcome::kFailed));
}

}  // namespace
}  // namespace ddpm
