#include "ddpm/serving/engine/call_pace.h"

#include <gtest/gtest.h>

#include <random>

#include "serving/fake_device.h"

namespace ddpm {
namespace {

using std::chrono::duration_cast;
using std::chrono::microseconds;
using testing::FakeDevice;

const at::Device kGpu(at::kCUDA, 0);  // its name alone: the device is a fake

/// A host that makes calls as an engine's thread does: it waits until a call is to be prepared,
/// launches it, then waits for the one before it.
class Host {
 public:
  explicit Host(FakeDevice& device) : device_(device), pace_(device.clock()) {}

  /// @return for how long late requests could come.
  microseconds make_call(int64_t rows, microseconds length, microseconds preparation) {
    const EngineClock::time_point begin = device_.now;
    if (const auto next = pace_.next_call()) device_.now = std::max(begin, *next);
    const auto held = duration_cast<microseconds>(device_.now - begin);
    device_.now += preparation;
    device_.queue(length);
    auto end = pace_.launch({"model", rows}, kGpu);
    if (last_ != nullptr) pace_.wait(*last_);
    last_ = std::move(end);
    return held;
  }

 private:
  FakeDevice& device_;
  CallPace pace_;
  std::shared_ptr<const DeviceMark> last_;
};

TEST(CallPaceTest, ACallIsPreparedShortlyBeforeTheRunningOneEnds) {
  FakeDevice device;
  Host host(device);
  microseconds held{0};
  for (int i = 0; i < 1000; ++i) held = host.make_call(32, microseconds(1500), microseconds(400));
  EXPECT_GT(held, microseconds(1500 - 2 * 400));
  EXPECT_LT(held, microseconds(1500 - 400));
  EXPECT_LT(device.idle, microseconds(1000 * 1500 / 1000)) << "a thousandth of the time";
}

TEST(CallPaceTest, AHostOfUnevenSpeedKeepsTheDeviceBusyAllTheSame) {
  FakeDevice device;
  Host host(device);
  std::mt19937 random(1);
  std::exponential_distribution<double> more(1 / 100.0);
  microseconds held{0};
  constexpr int kCalls = 3000;
  for (int i = 0; i < kCalls; ++i) {
    const microseconds preparation(300 + static_cast<int64_t>(more(random)));
    held += host.make_call(32, microseconds(1500), preparation);
  }
  EXPECT_GT(held / kCalls, microseconds(500));
  EXPECT_LT(device.idle, microseconds(kCalls * 1500 / 100)) << "a hundredth of the time";
}

TEST(CallPaceTest, AHostThatIsSlowerThanTheDeviceIsNotHeld) {
  FakeDevice device;
  Host host(device);
  for (int i = 0; i < 50; ++i) {
    EXPECT_EQ(host.make_call(1, microseconds(300), microseconds(400)), microseconds(0));
  }
}

TEST(CallPaceTest, LengthsAreThoseOfTheModelAndTheRows) {
  FakeDevice device;
  Host host(device);
  for (int i = 0; i < 500; ++i) {
    const bool is_large = i / 3 % 2 == 0;
    host.make_call(is_large ? 64 : 8, microseconds(is_large ? 4000 : 1000), microseconds(300));
  }
  EXPECT_LT(device.idle, microseconds(4000)) << "no short call was taken for a long one";
}

TEST(CallPaceTest, ACaptureOrAnotherDelayIsForgotten) {
  FakeDevice device;
  Host host(device);
  microseconds held{0};
  for (int i = 0; i < 600; ++i) {
    const bool is_slow = i == 200;
    held = host.make_call(16, microseconds(is_slow ? 900'000 : 1500),
                          microseconds(is_slow ? 2'000'000 : 300));
  }
  EXPECT_GT(held, microseconds(700));
  EXPECT_LT(device.idle, microseconds(2'010'000));
}

TEST(CallPaceTest, AHostThatWasSlowForLongIsTrustedAgainSoon) {
  FakeDevice device;
  Host host(device);
  for (int i = 0; i < 500; ++i) host.make_call(8, microseconds(1000), microseconds(1200));
  microseconds held{0};
  for (int i = 0; i < 250; ++i) held = host.make_call(8, microseconds(1000), microseconds(300));
  EXPECT_GT(held, microseconds(300));
}

TEST(CallPaceTest, NothingIsHeldBeforeALengthIsKnownOrWhileTheDeviceIsIdle) {
  FakeDevice device;
  CallPace pace(device.clock());
  const auto launch = [&] {
    device.queue(microseconds(1500));
    return pace.launch({"model", 4}, kGpu);
  };
  EXPECT_FALSE(pace.next_call());
  const auto first = launch();
  EXPECT_FALSE(pace.next_call()) << "its start was not seen";
  const auto second = launch();
  EXPECT_FALSE(pace.next_call()) << "there is more than one";
  pace.wait(*first);
  EXPECT_FALSE(pace.next_call()) << "no length is known";
  const auto third = launch();
  pace.wait(*second);
  ASSERT_TRUE(pace.next_call());
  EXPECT_LT(*pace.next_call(), device.now + microseconds(1500));
  pace.wait(*third);
  EXPECT_FALSE(pace.next_call()) << "the device is idle";
}

TEST(CallPaceTest, AfterACallThatNobodyWaitedForItGoesOn) {
  FakeDevice device;
  CallPace pace(device.clock());
  std::shared_ptr<const DeviceMark> last;
  for (int i = 0; i < 10; ++i) {
    device.queue(microseconds(1500));
    auto end = pace.launch({"model", 4}, kGpu);
    if (i != 6) pace.wait(i == 0 ? *end : *last);
    last = std::move(end);
  }
  EXPECT_TRUE(pace.next_call());
}

TEST(CallPaceTest, AfterCallsOfTwoModelsWhoseEndsComeLateItGoesOn) {
  FakeDevice device;
  CallPace pace(device.clock());
  const auto launch = [&](const char* model) {
    device.queue(microseconds(1500));
    return pace.launch({model, 4}, kGpu);
  };
  const auto other = launch("other"), first = launch("model"), second = launch("model");
  pace.wait(*first);
  pace.wait(*other);  // forgotten by then
  std::shared_ptr<const DeviceMark> last = second;
  for (int i = 0; i < 3; ++i) {
    auto end = launch("model");
    pace.wait(*last);
    last = std::move(end);
  }
  EXPECT_TRUE(pace.next_call());
}

TEST(CallPaceTest, ShortCallsAreNotHeld) {
  FakeDevice device;
  CallPace pace(device.clock());
  std::shared_ptr<const DeviceMark> last;
  for (int i = 0; i < 10; ++i) {
    device.queue(microseconds(420));
    auto end = pace.launch({"model", 1}, kGpu);
    pace.wait(i == 0 ? *end : *last);
    EXPECT_FALSE(pace.next_call()) << i;
    last = std::move(end);
  }
}

TEST(CallPaceTest, ACpuIsNeverBehind) {
  CallPace pace;
  for (int i = 0; i < 3; ++i) EXPECT_EQ(pace.launch({"model", 4}, at::kCPU), nullptr);
  EXPECT_FALSE(pace.next_call());
}

}  // namespace
}  // namespace ddpm
