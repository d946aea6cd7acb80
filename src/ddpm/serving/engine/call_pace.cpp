#include "ddpm/serving/engine/call_pace.h"

#include <algorithm>
#include <chrono>
#include <iterator>
#include <utility>

namespace ddpm {
namespace {

constexpr std::size_t kRememberedCalls = 8;  // of a kind
constexpr double kMarginGrowth = 1.25;
constexpr double kMarginFall = 0.995;  // about one call of 45 is launched late
constexpr double kLeastMarginSeconds = 1e-4;
// An H100's calls of one image take 0.42 ms. Held back they are 7% fewer a second.
constexpr double kShortestSeconds = 7.5e-4;

}  // namespace

std::shared_ptr<const DeviceMark> CallPace::launch(CallKind kind, at::Device device) {
  auto end = clock_.mark(device);
  if (end != nullptr) launched_.push_back({.kind = std::move(kind), .end = end});
  return end;
}

void CallPace::wait(const DeviceMark& end) {
  const bool was_running = !end.is_reached();
  end.wait();
  const EngineClock::time_point now = clock_.now();
  const auto found = std::ranges::find(launched_, &end,
                                       [](const Launched& launched) { return launched.end.get(); });
  if (found == launched_.end()) return;  // forgotten: a later one was waited for
  const Launched call = *found;
  launched_.erase(launched_.begin(), std::next(found));
  learn(call);
  if (launched_.size() != 1) return;
  if (was_running) launched_.front().start = now;
  adapt_margin(call, was_running);
}

std::optional<double> CallPace::shortest_seconds(const CallKind& kind) const {
  const auto known = seconds_.find(kind);
  if (known == seconds_.end()) return std::nullopt;
  return std::ranges::min(known->second);
}

/// Where the start was seen, the call was launched before it: nothing but the call lies between.
void CallPace::learn(const Launched& call) {
  const std::optional<double> seconds = call.end->seconds();
  if (!call.start || !seconds) return;
  std::deque<double>& last = seconds_[call.kind];
  last.push_back(*seconds);
  if (last.size() > kRememberedCalls) last.pop_front();
}

/// A margin as long as the call leaves nothing to wait for, so a longer one would be no earlier.
void CallPace::adapt_margin(const Launched& call, bool next_was_in_time) {
  if (next_was_in_time) {
    margin_seconds_ = std::max(margin_seconds_ * kMarginFall, kLeastMarginSeconds);
  } else if (margin_seconds_ < shortest_seconds(call.kind).value_or(0)) {
    margin_seconds_ *= kMarginGrowth;
  }
}

std::optional<EngineClock::time_point> CallPace::next_call() const {
  if (launched_.size() != 1 || !launched_.front().start) return std::nullopt;
  const auto seconds = shortest_seconds(launched_.front().kind);
  if (!seconds || *seconds < kShortestSeconds) return std::nullopt;
  const std::chrono::duration<double> wait(*seconds - margin_seconds_);
  return *launched_.front().start + std::chrono::duration_cast<EngineClock::duration>(wait);
}

}  // namespace ddpm
