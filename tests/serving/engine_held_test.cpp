#include <ATen/Parallel.h>
#include <gtest/gtest.h>

#include <condition_variable>
#include <mutex>

#include "ddpm/serving/engine/engine.h"
#include "serving/fake_model.h"

namespace ddpm {
namespace {

using testing::fake_model;
using testing::FakeCalls;

constexpr int kCallsUntilHeld = 3;  // the second shows the first's end, the third its own length

/// Of a device that seems to take an hour a call, though nobody has to wait for it.
class HourMark : public DeviceMark {
 public:
  bool is_reached() const override { return false; }
  void wait() const override {}
  std::optional<double> seconds() const override { return 3600; }
};

PaceClock hours() {
  return {.mark = [](at::Device) { return std::make_shared<HourMark>(); }};
}

/// Counts what other threads do.
class Count {
 public:
  void add() {
    const std::lock_guard lock(mutex_);
    ++count_;
    changed_.notify_all();
  }
  void wait_for(int count) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return count_ >= count; });
  }
  int value() {
    const std::lock_guard lock(mutex_);
    return count_;
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  int count_ = 0;
};

/// An engine whose thread leaves the device to a call for an hour.
class EngineHeldTest : public ::testing::Test {
 protected:
  void SetUp() override {
    at::set_num_threads(1);
    const auto fakes = std::make_shared<FakeCalls>();
    fakes->before = [this](const Tensor& x, const Tensor&, const Tensor&) {
      most_rows_ = std::max(most_rows_.load(), x.size(0));
      calls_.add();
    };
    model_ = fake_model(fakes);
    engine_ = std::make_unique<Engine>(Engine::Models{model_},
                                       EngineOptions{.max_batch = 2, .tells_late = true}, hours());
    submit();
    calls_.wait_for(kCallsUntilHeld);
  }

  EngineTicket submit() {
    return engine_->submit(
        {.model = "fake", .sampler = {.kind = SamplerKind::kDdim, .steps = 1000}},
        {.end = [this](const RequestEnd&) { ends_.add(); }});
  }

  Count calls_;
  Count ends_;
  std::atomic<int64_t> most_rows_ = 0;
  std::shared_ptr<const EngineModel> model_;
  std::unique_ptr<Engine> engine_;
};

TEST_F(EngineHeldTest, ItStopsAtOnceAllTheSame) {
  EXPECT_EQ(calls_.value(), kCallsUntilHeld);
  engine_.reset();
  EXPECT_EQ(ends_.value(), 1);
  EXPECT_EQ(calls_.value(), kCallsUntilHeld);
}

TEST_F(EngineHeldTest, ADrainEndsWhatIsOpen) {
  EXPECT_FALSE(engine_->drain(EngineClock::now()));
  EXPECT_EQ(ends_.value(), 1);
}

TEST_F(EngineHeldTest, ARequestThatFillsTheBatchEndsTheWait) {
  submit();
  calls_.wait_for(kCallsUntilHeld + 1);
  EXPECT_EQ(most_rows_, 2);
}

TEST_F(EngineHeldTest, ALentNetworkIsCalledAllTheSame) {
  const EngineNetwork network = engine_->lend_network(model_);
  const Tensor x = at::zeros({1, 2, 4, 4});
  EXPECT_TRUE(network(x, at::zeros({1}, at::kLong), {}).defined());
}

}  // namespace
}  // namespace ddpm
