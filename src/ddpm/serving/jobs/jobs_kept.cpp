#include <exception>
#include <mutex>
#include <utility>

#include "ddpm/core/log.h"
#include "ddpm/serving/jobs/jobs.h"

// Jobs and its store: what is kept of a job, and what begins again.
namespace ddpm {

void Jobs::fail(const JobPtr& job, JobError error) {
  {
    const std::lock_guard lock(mutex_);
    job->shown.state = JobState::kFailed;
    job->shown.error = std::move(error);
    job->shown.finished = options_.now();
    add_event(*job, {.kind = JobEvent::Kind::kEnd});
  }
  store(job);
}

void Jobs::begin_again(const JobPtr& job) {
  const JobId& id = job->shown.id;
  if (job->shown.restarts > 0) {
    log_warn("[jobs] job " + id + " was interrupted twice, and does not begin again");
    return fail(job, {JobErrorCode::kInterrupted, "the server was interrupted twice"});
  }
  ++job->shown.restarts;
  store(job);  // first: a job that ends the process must not do so again and again
  try {
    submit_to_engine(job);
  } catch (const std::exception& error) {
    log_warn("[jobs] job " + id + " can't begin again: " + error.what());
    fail(job, {JobErrorCode::kInterrupted, error.what()});
  }
}

void Jobs::restore(JobSnapshot kept) {
  JobPtr job;
  {
    const std::lock_guard lock(mutex_);
    job = table_.restore(std::move(kept));
    if (is_over(job->shown.state)) return add_event(*job, {.kind = JobEvent::Kind::kEnd});
  }
  begin_again(job);
}

void Jobs::store(const JobPtr& job) {
  if (options_.store == nullptr) return;
  const std::lock_guard order(store_mutex_);
  put_in_store(*job);
}

void Jobs::put_in_store(Job& job) {
  JobSnapshot shown;
  {
    const std::lock_guard lock(mutex_);
    if (table_.find(job.shown.id) == nullptr) return;
    shown = table_.snapshot(job);
  }
  options_.store->put(shown);
  job.is_stored = true;
}

void Jobs::store_image(const JobPtr& job, int64_t image) {
  if (options_.store == nullptr) return;
  const std::lock_guard order(store_mutex_);
  if (!job->is_stored) put_in_store(*job);  // drawn before submit() came so far
  std::shared_ptr<const JobImage> encoded;
  {
    const std::lock_guard lock(mutex_);
    if (table_.find(job->shown.id) == nullptr) return;
    encoded = job->shown.images.at(image);
  }
  options_.store->put_image(job->shown.id, image, *encoded);
}

void Jobs::store_erased() {
  const std::lock_guard order(store_mutex_);
  std::vector<JobId> erased;
  {
    const std::lock_guard lock(mutex_);
    erased = table_.take_erased();
  }
  if (options_.store != nullptr && !erased.empty()) options_.store->erase(erased);
}

}  // namespace ddpm
