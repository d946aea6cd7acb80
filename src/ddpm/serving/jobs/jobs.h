#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

#include "ddpm/serving/engine/engine.h"
#include "ddpm/serving/engine/engine_loader.h"
#include "ddpm/serving/jobs/job.h"
#include "ddpm/serving/jobs/job_store.h"
#include "ddpm/serving/jobs/job_table.h"

namespace ddpm {

struct JobsOptions {
  /// Of all jobs. The oldest that are over go, but for those that someone listens to or is yet to
  /// look at; where these and what open jobs may draw fill it, new jobs are refused.
  int64_t max_result_bytes = int64_t{256} << 20;
  int64_t max_jobs = 10'000;            ///< Kept, open ones with them.
  std::chrono::seconds max_age{3600};   ///< Of a job since it was over.
  std::chrono::seconds first_look{15};  ///< For a client to ask for a job that ended, ..
  std::chrono::seconds next_look{5};    ///< .. and for its images after each time that it asked.
  std::chrono::milliseconds progress_interval{50};  ///< Between a job's progress events.
  /// Between two calls of a queued job's listeners because others left the queue before it.
  std::chrono::milliseconds position_interval{500};
  std::function<JobFrame(const ImageTrace&)> encode_frame = {};  ///< Empty: none are kept.
  std::shared_ptr<JobStore> store = {};  ///< Null: jobs end with the process.
  /// What the time is: for tests.
  std::function<JobClock::time_point()> now = [] { return JobClock::now(); };
};

/// Jobs in numbers, for /metrics.
struct JobsStats {
  int64_t queued = 0;
  int64_t running = 0;
  int64_t over = 0;
  int64_t result_bytes = 0;
  uint64_t refused = 0;  ///< Requests for which there was no room (JobsFull).
  uint64_t failed_store_writes = 0;
};

/// There is no room for what a new job may draw until others are done with, or were fetched.
class JobsFull : public std::runtime_error {
 public:
  explicit JobsFull(double retry_after)
      : std::runtime_error("[jobs] expected room for the results, got none"),
        retry_after_seconds(retry_after) {}
  double retry_after_seconds;  ///< When it is worth another try.
};

/// Requests as clients see them: with an id that outlives the connection, a state, progress, an
/// event log to resume, and encoded results that are kept for a while.
///
/// Any thread may call. Images are encoded in a thread of its own, so the engine never waits.
class Jobs {
 public:
  /// Encodes image i of a job; may throw, which fails the job.
  using Encoder =
      std::function<JobImage(const JobRequest& request, int64_t image, const Tensor& x)>;
  /// Told that a job has news, on any thread; must return soon and not call Jobs.
  using Listener = std::function<void()>;

  /// With a store, jobs that are over are as they were, and those that were cut short are given to
  /// the engine again. One has failed that was being drawn when a server was killed for the second
  /// time, or that met six such ends in a row; a shutdown does not count.
  ///
  /// @param engine must outlive this, and have nothing open when this ends (drain it).
  Jobs(Engine& engine, Encoder encoder, JobsOptions options = {});
  /// Encodes what is drawn.
  ~Jobs();
  Jobs(const Jobs&) = delete;
  Jobs& operator=(const Jobs&) = delete;

  /// Gives the request to the engine. With an idempotency key that a kept job has, that job is
  /// returned instead; requests with keys are taken in one after another, so that none is answered
  /// with a job that the engine then rejects.
  ///
  /// @throws JobKeyConflict if that job's request was another one; JobsFull if its results might
  ///         find no room; else as Engine::submit.
  JobSnapshot submit(JobRequest request);

  /// Nothing if there is no such job, or no longer. One that is over then stays for next_look, even
  /// if there is too little room.
  std::optional<JobSnapshot> find(const JobId& id) const;

  /// Newest first, at most `limit`, those that came before the job `after` if one is named.
  std::vector<JobSnapshot> list(std::size_t limit, const JobId& after = "") const;

  /// Cancels a job that is open; forgets one that is over. The job as it was found.
  std::optional<JobSnapshot> remove(const JobId& id);

  /// The events after a number; nothing if there is no such job.
  std::optional<std::vector<JobEvent>> events_after(const JobId& id, uint64_t number) const;

  /// Calls the listener at each event of the job, and where it waits and its position may have
  /// changed, until the returned handle is dropped. Null if there is no such job.
  std::shared_ptr<Listener> listen(const JobId& id, Listener listener);

  /// Forgets what is over and too old; called by every submit, and to be called now and then.
  void expire();

  int64_t result_bytes() const;
  JobsStats stats() const;

 private:
  EngineEvents events_of(const JobPtr& job);
  JobPtr find_or_begin(JobRequest request, bool& is_new);
  void give_to_engine(const JobPtr& job);
  void submit_to_engine(const JobPtr& job);
  void restore(JobSnapshot kept);
  void begin_again(const JobPtr& job);
  void fail(const JobPtr& job, JobError error);
  void store(const JobPtr& job);
  void put_in_store(Job& job);
  void store_image(const JobPtr& job, int64_t image);
  void store_erased();
  void on_start(const JobPtr& job);
  void on_progress(Job& job, const ImageProgress& event);
  void keep_image(const JobPtr& job, const ImageResult& result);
  void keep_frame(const JobPtr& job, const ImageTrace& trace);
  void finish(const JobPtr& job, const RequestEnd& end);
  void add_event(Job& job, JobEvent event);
  void tell_positions();
  void check_room(int64_t most_bytes);
  void make_room();
  void set_end(Job& job, JobState state);
  static void call_listeners(Job& job);

  Engine& engine_;
  const Encoder encoder_;
  const JobsOptions options_;
  std::mutex keyed_mutex_;    // of requests with keys, until the engine has them; taken first
  std::mutex store_mutex_;    // of what the store is told; taken before mutex_
  mutable std::mutex mutex_;  // of table_ and the jobs in it
  JobTable table_;
  uint64_t num_refused_ = 0;
  bool positions_changed_ = false;
  JobClock::time_point positions_told_ = {};
  EngineLoader encoding_;  // last: its tasks use the others
};

}  // namespace ddpm
