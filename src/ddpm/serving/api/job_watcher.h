#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>

#include "ddpm/serving/engine/engine_loader.h"
#include "ddpm/serving/jobs/jobs.h"

namespace ddpm {

/// Tells of jobs' events in a thread of its own, so that encoding and writing what clients read
/// keeps neither the engine nor the connections waiting. It ends after all that watches.
class JobWatcher {
 public:
  /// Told of events in their order, up to kEnd. What it throws is logged, and ends the watch.
  using OnEvent = std::function<void(const JobEvent&)>;

  /// @param jobs must outlive this.
  explicit JobWatcher(Jobs& jobs) : jobs_(jobs) {}

  /// A watch, which ends when the last pointer to it is dropped.
  class Watch;

  /// Tells of the job's events after a number, those that were before too. Where the job is over
  /// and nothing came after that number, kEnd is told again; where the job was forgotten meanwhile,
  /// kEnd with number 0 (Jobs::find then gives nothing).
  ///
  /// A job that waits is told of too: kState with its position, when it is known and when it
  /// changes, under the number of the event before.
  ///
  /// @return null if there is no such job.
  std::shared_ptr<Watch> watch(const JobId& id, uint64_t after, OnEvent on_event);

  /// Runs a task in the watcher's thread, for what events' readers do there besides.
  void run(std::function<void()> task) { thread_.run(std::move(task)); }

 private:
  void call_soon(const std::shared_ptr<Watch>& watch);
  void deliver(Watch& watch);
  void tell_last(Watch& watch, const JobSnapshot& job);
  bool tell(Watch& watch, const JobEvent& event);

  Jobs& jobs_;
  EngineLoader thread_;
};

}  // namespace ddpm
