#pragma once

#include <chrono>

namespace ddpm {

/// The time that steps took since the last logged row, without what came between them.
class WindowClock {
 public:
  WindowClock() : started_(Clock::now()) {}

  void restart() {
    started_ = Clock::now();
    paused_ = {};
  }
  double seconds() const {
    return std::chrono::duration<double>(Clock::now() - started_ - paused_).count();
  }

  /// The clock stands while it lives.
  class Pause {
   public:
    explicit Pause(WindowClock& clock) : clock_(clock), began_(Clock::now()) {}
    ~Pause() { clock_.paused_ += Clock::now() - began_; }
    Pause(const Pause&) = delete;
    Pause& operator=(const Pause&) = delete;

   private:
    WindowClock& clock_;
    std::chrono::steady_clock::time_point began_;
  };

 private:
  using Clock = std::chrono::steady_clock;
  Clock::time_point started_;
  Clock::duration paused_{};
};

}  // namespace ddpm
