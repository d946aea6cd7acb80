#pragma once

#include <algorithm>
#include <memory>
#include <optional>

#include "ddpm/serving/engine/call_pace.h"

namespace ddpm::testing {

/// A device with a queue, and the clock of a host beside it. Time passes where the test lets it,
/// and where the host waits.
struct FakeDevice {
  /// The host queues work that takes as long as this.
  void queue(EngineClock::duration length) {
    if (now > end && has_worked) idle += now - end;
    has_worked = true;
    end = std::max(end, now) + length;
  }

  PaceClock clock() {
    return {.now = [this] { return now; }, .mark = [this](at::Device) { return mark(); }};
  }

  EngineClock::time_point now = EngineClock::time_point(std::chrono::seconds(1000));
  EngineClock::time_point end = {};  ///< Of what was queued.
  EngineClock::duration idle = {};   ///< Between pieces of work.
  bool has_worked = false;

 private:
  class Mark : public DeviceMark {
   public:
    Mark(FakeDevice& device, EngineClock::time_point before)
        : device_(device), before_(before), end_(device.end) {}
    bool is_reached() const override { return device_.now >= end_; }
    void wait() const override { device_.now = std::max(device_.now, end_); }
    std::optional<double> seconds() const override {
      return std::chrono::duration<double>(end_ - before_).count();
    }

   private:
    FakeDevice& device_;
    EngineClock::time_point before_;
    EngineClock::time_point end_;
  };

  std::shared_ptr<const DeviceMark> mark() {
    const auto made = std::make_shared<Mark>(*this, last_mark_);
    last_mark_ = end;
    return made;
  }

  EngineClock::time_point last_mark_ = {};
};

}  // namespace ddpm::testing
