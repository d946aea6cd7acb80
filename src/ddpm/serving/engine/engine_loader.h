#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <mutex>
#include <thread>

namespace ddpm {

/// A thread that runs tasks one after the other, beside the one that computes. Its end waits for
/// the one that runs, and drops the others.
class EngineLoader {
 public:
  EngineLoader();
  ~EngineLoader();
  EngineLoader(const EngineLoader&) = delete;
  EngineLoader& operator=(const EngineLoader&) = delete;

  /// @param task must not throw.
  void run(std::function<void()> task);

 private:
  void loop();

  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<std::function<void()>> tasks_;
  bool stops_ = false;
  std::thread thread_;  // last: it uses the others
};

}  // namespace ddpm
