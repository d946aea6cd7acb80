#include "ddpm/serving/api/job_watcher.h"

#include <exception>
#include <string>
#include <utility>
#include <vector>

#include "ddpm/core/log.h"

namespace ddpm {

class JobWatcher::Watch {
 public:
  Watch(JobId job, uint64_t after, OnEvent told)
      : id(std::move(job)), last_number(after), on_event(std::move(told)) {}

  const JobId id;
  uint64_t last_number;  // of the watcher's thread, as is_over
  bool is_over = false;
  int64_t position = -1;  ///< That was told last.
  const OnEvent on_event;
  std::atomic<bool> is_called = false;  ///< A task for it waits.
  std::shared_ptr<Jobs::Listener> listener = {};
};

std::shared_ptr<JobWatcher::Watch> JobWatcher::watch(const JobId& id, uint64_t after,
                                                     OnEvent on_event) {
  auto watch = std::make_shared<Watch>(id, after, std::move(on_event));
  watch->listener = jobs_.listen(id, [this, weak = std::weak_ptr<Watch>(watch)] {
    if (const auto held = weak.lock()) call_soon(held);
  });
  if (watch->listener == nullptr) return nullptr;
  call_soon(watch);
  return watch;
}

void JobWatcher::call_soon(const std::shared_ptr<Watch>& watch) {
  if (watch->is_called.exchange(true)) return;
  thread_.run([this, weak = std::weak_ptr<Watch>(watch)] {
    if (const auto held = weak.lock()) deliver(*held);
  });
}

void JobWatcher::deliver(Watch& watch) {
  watch.is_called = false;
  if (watch.is_over) return;
  const auto events = jobs_.events_after(watch.id, watch.last_number);
  if (!events) {
    tell(watch, {.kind = JobEvent::Kind::kEnd, .state = JobState::kCancelled});
    return;
  }
  for (const JobEvent& event : *events) {
    if (!tell(watch, event)) return;
  }
  if (const auto job = jobs_.find(watch.id)) tell_last(watch, *job);
}

/// What no event says: that a job waits, and where; or that nothing comes any more, because the
/// reader has all, or counts by a log that a restart began anew.
void JobWatcher::tell_last(Watch& watch, const JobSnapshot& job) {
  if (job.state == JobState::kQueued && job.position != watch.position) {
    watch.position = job.position;
    tell(watch, {.number = watch.last_number,
                 .kind = JobEvent::Kind::kState,
                 .state = job.state,
                 .progress = job.progress,
                 .position = job.position});
  }
  if (!is_over(job.state)) return;
  const auto all = jobs_.events_after(watch.id, 0);
  if (!all || all->empty()) return;
  if (all->back().number <= watch.last_number) tell(watch, all->back());
}

bool JobWatcher::tell(Watch& watch, const JobEvent& event) {
  watch.last_number = event.number;
  watch.is_over = event.kind == JobEvent::Kind::kEnd;
  try {
    watch.on_event(event);
  } catch (const std::exception& error) {
    log_error("[serve] events of job " + watch.id + ": " + error.what());
    watch.is_over = true;
  }
  return !watch.is_over;
}

}  // namespace ddpm
