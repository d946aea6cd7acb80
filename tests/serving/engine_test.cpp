#include "ddpm/serving/engine/engine.h"

#include <ATen/Parallel.h>
#include <gtest/gtest.h>

#include <atomic>
#include <latch>
#include <stdexcept>
#include <thread>

#include "serving/fake_model.h"

namespace ddpm {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using testing::fake_model;
using testing::FakeCalls;

/// Counts ends by outcome; any thread may look.
struct Ends {
  std::array<std::atomic<int>, kNumOutcomes> by_outcome = {};
  std::atomic<int> images = 0;

  int of(RequestOutcome outcome) const {
    return by_outcome.at(static_cast<std::size_t>(outcome)).load();
  }
  int all() const {
    int sum = 0;
    for (const auto& count : by_outcome) sum += count.load();
    return sum;
  }
};

EngineEvents counting(const std::shared_ptr<Ends>& ends) {
  return {.image = [ends](const ImageResult&) { ++ends->images; },
          .end =
              [ends](const RequestEnd& how) {
                ++ends->by_outcome.at(static_cast<std::size_t>(how.outcome));
              }};
}

EngineRequest request_of(const std::string& model, int64_t steps, int64_t num_images = 1) {
  return {.model = model,
          .num_images = num_images,
          .sampler = {.kind = SamplerKind::kDdim, .steps = steps}};
}

RejectReason rejection(Engine& engine, const EngineRequest& request) {
  try {
    engine.submit(request, {});
  } catch (const EngineRejected& rejected) {
    return rejected.reason;
  }
  throw std::logic_error("the request was taken");
}

EngineClock::time_point in(milliseconds time) { return EngineClock::now() + time; }

class EngineTest : public ::testing::Test {
 protected:
  void SetUp() override { at::set_num_threads(1); }
  Engine::Models models() const { return {fake_model(calls_)}; }
  /// Holds the network back until `opened` counts down.
  void hold(std::latch& opened) {
    calls_->before = [&opened](const Tensor&, const Tensor&, const Tensor&) { opened.wait(); };
  }

  std::shared_ptr<FakeCalls> calls_ = std::make_shared<FakeCalls>();
  std::shared_ptr<Ends> ends_ = std::make_shared<Ends>();
};

TEST_F(EngineTest, ManyThreadsRequestsAllEndOnce) {
  Engine engine(models(), {});
  std::vector<std::thread> threads;
  for (int thread = 0; thread < 4; ++thread) {
    threads.emplace_back([&, thread] {
      for (int i = 0; i < 25; ++i) {
        engine.submit(request_of("fake", 2 + (thread * 25 + i) % 9, 1 + i % 3), counting(ends_));
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_TRUE(engine.drain(in(seconds(60))));
  EXPECT_EQ(ends_->of(RequestOutcome::kDone), 100);
  EXPECT_EQ(ends_->images, 4 * (9 * 1 + 8 * 2 + 8 * 3));
  EXPECT_EQ(engine.stats().open_images, 0);
  EXPECT_EQ(engine.stats().plan_bytes, 0);
}

TEST_F(EngineTest, ACancelStormEndsEachRequestOnce) {
  Engine engine(models(), {.max_batch = 4});
  std::vector<std::thread> threads;
  std::atomic<int> cancelled = 0;
  for (int thread = 0; thread < 3; ++thread) {
    threads.emplace_back([&] {
      for (int i = 0; i < 100; ++i) {
        const EngineTicket ticket = engine.submit(request_of("fake", 900), counting(ends_));
        if (i % 2 == 0) std::this_thread::yield();
        if (engine.cancel(ticket)) ++cancelled;
        engine.cancel(ticket);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_TRUE(engine.drain(in(seconds(60))));
  EXPECT_EQ(ends_->all(), 300);
  EXPECT_EQ(ends_->of(RequestOutcome::kCancelled), cancelled);
  EXPECT_FALSE(engine.cancel(1));
  EXPECT_EQ(engine.stats().in_flight_images, 0);
}

TEST_F(EngineTest, RequestsBeyondTheBoundsAreRejectedAndLeaveNoTrace) {
  std::latch opened(1);
  hold(opened);
  Engine engine(models(), {.max_open_images = 10, .max_images = 8});
  engine.submit(request_of("fake", 5, 6), counting(ends_));
  EXPECT_EQ(rejection(engine, request_of("fake", 5, 5)), RejectReason::kQueueFull);
  EXPECT_EQ(rejection(engine, request_of("other", 5)), RejectReason::kUnknownModel);
  engine.submit(request_of("fake", 5, 4), counting(ends_));
  EXPECT_EQ(rejection(engine, request_of("fake", 5)), RejectReason::kQueueFull);
  EXPECT_EQ(engine.stats().open_images, 10);
  EXPECT_EQ(engine.stats().rejected_full, 2U);
  opened.count_down();
  EXPECT_TRUE(engine.drain(in(seconds(60))));
  EXPECT_EQ(ends_->of(RequestOutcome::kDone), 2);
}

TEST_F(EngineTest, PlansOfOpenRequestsAreSharedAndBounded) {
  std::latch opened(1);
  hold(opened);
  Engine engine(models(), {.max_plan_bytes = 3 * 1000 * int64_t{sizeof(SamplerCall)}});
  engine.submit(request_of("fake", 1000), counting(ends_));
  const int64_t one = engine.stats().plan_bytes;
  for (int i = 0; i < 20; ++i) engine.submit(request_of("fake", 1000), counting(ends_));
  EXPECT_EQ(engine.stats().plan_bytes, one);
  engine.submit(request_of("fake", 999), counting(ends_));
  EXPECT_EQ(rejection(engine, request_of("fake", 998)), RejectReason::kQueueFull);
  EXPECT_LT(engine.stats().plan_bytes, 3 * one) << "the rejected one's is gone";
  opened.count_down();
}

TEST_F(EngineTest, WrongRequestsAreRefusedBeforeTheyWait) {
  Engine engine(models(), {.max_images = 8, .max_steps = 100});
  const auto refuses = [&](EngineRequest request) {
    EXPECT_THROW(engine.submit(std::move(request), {}), std::invalid_argument);
  };
  refuses(request_of("fake", 5, 0));
  refuses(request_of("fake", 5, 9));
  refuses(request_of("fake", 101));
  refuses(request_of("fake", -1));
  EngineRequest request = request_of("fake", 5);
  request.class_labels = {1};
  refuses(request);
  request = request_of("fake", 5);
  request.guidance.scale = 2;
  refuses(request);
  request = request_of("fake", 5);
  request.priority = 2;
  refuses(request);
  request = request_of("fake", 5, 2);
  request.first_image = std::numeric_limits<uint64_t>::max();
  refuses(request);
  request = request_of("fake", 5);
  request.trace_frames = -1;
  refuses(request);
  EXPECT_EQ(engine.stats().open_requests, 0);
}

TEST_F(EngineTest, DrainingTakesNothingInAndStopsWhatIsLate) {
  Engine engine(models(), {});
  calls_->before = [](const Tensor&, const Tensor&, const Tensor&) {
    std::this_thread::sleep_for(milliseconds(1));
  };
  engine.submit(request_of("fake", 5), counting(ends_));
  engine.submit(request_of("fake", 1000, 20), counting(ends_));
  EXPECT_FALSE(engine.drain(in(milliseconds(100))));
  EXPECT_EQ(ends_->of(RequestOutcome::kDone), 1);
  EXPECT_EQ(ends_->of(RequestOutcome::kStopped), 1);
  EXPECT_EQ(rejection(engine, request_of("fake", 5)), RejectReason::kDraining);
  EXPECT_EQ(engine.stats().rejected_draining, 1U);
}

TEST_F(EngineTest, ItsEndEndsWhatIsOpen) {
  {
    Engine engine(models(), {});
    for (int i = 0; i < 10; ++i) engine.submit(request_of("fake", 1000, 20), counting(ends_));
  }
  EXPECT_EQ(ends_->of(RequestOutcome::kStopped), 10);
}

TEST_F(EngineTest, AWaitingRequestTimesOutWhileItsModelIsRead) {
  std::latch opened(1);
  const auto model = fake_model(calls_);
  model->load = [&opened, load = model->load] {
    opened.wait();
    return load();
  };
  Engine engine({model}, {});
  EngineRequest request = request_of("fake", 5);
  request.deadline = in(milliseconds(20));
  std::latch ended(1);
  engine.submit(request, {.end = [&](const RequestEnd& how) {
                  EXPECT_EQ(how.outcome, RequestOutcome::kTimedOut);
                  ended.count_down();
                }});
  ended.wait();
  engine.submit(request_of("fake", 5), counting(ends_));
  opened.count_down();
  EXPECT_TRUE(engine.drain(in(seconds(60))));
  EXPECT_EQ(ends_->of(RequestOutcome::kDone), 1);
}

TEST_F(EngineTest, AnEventMaySubmitAndCancel) {
  Engine engine(models(), {});
  std::latch ended(2);
  const EngineEvents last{.end = [&](const RequestEnd&) { ended.count_down(); }};
  engine.submit(request_of("fake", 3), {.end = [&](const RequestEnd&) {
                  engine.cancel(engine.submit(request_of("fake", 500), last));
                  ended.count_down();
                }});
  ended.wait();
  EXPECT_TRUE(engine.drain(in(seconds(60))));
}

TEST_F(EngineTest, ModelsMayBeExchangedUnderOpenRequests) {
  const auto first = fake_model(calls_);
  Engine engine({first}, {});
  std::latch opened(1);
  hold(opened);
  engine.submit(request_of("fake", 5), counting(ends_));
  auto calls = std::make_shared<FakeCalls>();
  engine.set_models({fake_model(calls), fake_model(calls, {.id = "second"})});
  opened.count_down();
  engine.submit(request_of("second", 5), counting(ends_));
  EXPECT_EQ(engine.find_model("absent"), nullptr);
  EXPECT_NE(engine.find_model("fake"), first);
  EXPECT_TRUE(engine.drain(in(seconds(60))));
  EXPECT_EQ(ends_->of(RequestOutcome::kDone), 2);
  EXPECT_THROW(engine.set_models({fake_model(calls), fake_model(calls)}), std::invalid_argument);
  EXPECT_THROW(engine.set_models({fake_model(calls, {.size_bytes = int64_t{1} << 60})}),
               std::invalid_argument);
}

TEST_F(EngineTest, OptionsOutOfRangeAreRefused) {
  EXPECT_THROW(Engine(models(), {.max_batch = 1}), std::invalid_argument);
  EXPECT_THROW(Engine(models(), {.batch_sizes = {8, 4}}), std::invalid_argument);
  EXPECT_THROW(Engine(models(), {.max_in_flight = 0}), std::invalid_argument);
}

}  // namespace
}  // namespace ddpm
