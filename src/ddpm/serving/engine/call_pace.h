#pragma once

#include <compare>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>

#include "ddpm/serving/engine/device_mark.h"
#include "ddpm/serving/engine/engine_request.h"

namespace ddpm {

/// Calls that take a device as long as each other.
struct CallKind {
  std::string model;
  int64_t rows = 0;  ///< With the padding.

  auto operator<=>(const CallKind&) const = default;
};

/// What CallPace takes the time by.
struct PaceClock {
  std::function<EngineClock::time_point()> now = EngineClock::now;
  MarkDevice mark = EventMarks();
};

/// Says when the next network call is to be prepared, so that it lies in a GPU's queue shortly
/// before the running call ends: images of requests that come meanwhile are in it, and the GPU does
/// not wait for it. On a CPU, where a call has ended once it is made, it does nothing.
///
/// A call's length is the shortest of the last ones of its kind, on the device. How long before the
/// running call's end the next is prepared, its margin, adapts: it grows where a call was launched
/// when the one before had ended, and falls slowly otherwise. So it covers what the host takes to
/// prepare and launch a call, and to wake up for it, with few exceptions.
class CallPace {
 public:
  explicit CallPace(PaceClock clock = {}) : clock_(std::move(clock)) {}

  /// A call was launched behind those before.
  ///
  /// @return its end; null on a CPU.
  std::shared_ptr<const DeviceMark> launch(CallKind kind, at::Device device);

  /// Waits for the end of a launched call. Those that were launched before it and not waited for
  /// are forgotten.
  void wait(const DeviceMark& end);

  /// When the next call is to be prepared: nothing if at once, because the device is idle, has more
  /// than one call to do, it is not known how long, or so short that the host has no time to spare.
  std::optional<EngineClock::time_point> next_call() const;

 private:
  struct Launched {
    CallKind kind;
    std::shared_ptr<const DeviceMark> end;
    std::optional<EngineClock::time_point> start = {};  ///< Where it was seen.
  };

  std::optional<double> shortest_seconds(const CallKind& kind) const;
  void learn(const Launched& call);
  void adapt_margin(const Launched& call, bool next_was_in_time);

  PaceClock clock_;
  std::deque<Launched> launched_;                   ///< That were not waited for.
  std::map<CallKind, std::deque<double>> seconds_;  ///< Of the last calls.
  double margin_seconds_ = 1e-3;
};

}  // namespace ddpm
