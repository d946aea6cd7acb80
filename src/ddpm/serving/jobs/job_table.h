#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "ddpm/serving/jobs/job.h"
#include "ddpm/serving/jobs/job_log.h"

namespace ddpm {

/// A job as Jobs keeps it.
struct Job {
  JobSnapshot shown;  ///< But its position.
  uint64_t order = 0;
  EngineTicket ticket = 0;  ///< 0 until the engine has it.
  bool is_cancelled = false;
  bool is_stored = false;  ///< Whether the store knows it.
  /// Once it is over: before this it isn't forgotten for want of room.
  JobClock::time_point kept_until = {};
  int64_t size_bytes = 0;  ///< Of its results.
  JobLog log = {};
  JobClock::time_point progress_told = {};
  std::vector<std::weak_ptr<std::function<void()>>> listeners = {};
};
using JobPtr = std::shared_ptr<Job>;

/// What jobs and their results may take together.
struct JobBounds {
  int64_t max_jobs = 0;
  int64_t max_bytes = 0;
};

/// Another request came with the idempotency key of a job.
class JobKeyConflict : public std::runtime_error {
  using std::runtime_error::runtime_error;
};

/// Jobs by their order, id and idempotency key, and the bytes of their results. Guards nothing: one
/// thread at a time.
class JobTable {
 public:
  JobPtr insert(JobRequest request, JobClock::time_point now);
  void erase(const JobPtr& job);

  JobPtr find(const JobId& id) const;  ///< Null if there is none.
  /// The job of the request's key; null without a key, or if there is none.
  ///
  /// @throws JobKeyConflict if that job's fingerprint is another one.
  JobPtr find_by_key(const JobRequest& request) const;

  /// Newest first, at most `limit`, those that came before the job `after` if there is one.
  std::vector<JobPtr> newest(std::size_t limit, const JobId& after) const;

  /// Puts an image to its job.
  void keep(Job& job, int64_t image, JobImage encoded);

  /// Puts a frame to its job, behind those that it has.
  void keep(Job& job, JobFrame frame);

  /// Jobs that wait for their turn, the oldest first.
  std::vector<JobPtr> queued() const;

  /// Erases jobs that may be forgotten, the oldest first, until the bounds hold or none is left:
  /// those that are over, that nobody listens to, and whose kept_until has passed.
  void make_room(const JobBounds& bounds, JobClock::time_point now);
  /// How long a new job of at most so many bytes has to wait, as those that may not be forgotten
  /// fill the bounds, with what the open ones may still draw; nothing if it needn't. A job alone
  /// needn't ever.
  std::optional<JobClock::duration> wait_for_room(const JobBounds& bounds, int64_t most_bytes,
                                                  JobClock::time_point now) const;
  /// Erases jobs that were over before this and that nobody listens to.
  void expire(JobClock::time_point oldest);

  /// Puts a job in that was kept elsewhere, behind all others.
  JobPtr restore(JobSnapshot kept);
  /// The ids of the jobs that were erased since this was asked last.
  std::vector<JobId> take_erased() { return std::exchange(erased_, {}); }

  JobSnapshot snapshot(const Job& job) const;
  int64_t result_bytes() const { return result_bytes_; }
  int64_t count(JobState state) const;
  int64_t size() const { return static_cast<int64_t>(by_order_.size()); }

 private:
  JobPtr insert(JobPtr job);
  void count_bytes(Job& job, std::size_t size_bytes);

  std::map<uint64_t, JobPtr> by_order_;
  std::unordered_map<JobId, JobPtr> by_id_;
  std::unordered_map<std::string, JobPtr> by_key_;
  uint64_t last_order_ = 0;
  int64_t result_bytes_ = 0;
  std::vector<JobId> erased_;
};

}  // namespace ddpm
