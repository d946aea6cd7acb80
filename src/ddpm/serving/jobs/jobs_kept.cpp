#include <exception>
#include <mutex>
#include <string>
#include <utility>

#include "ddpm/core/log.h"
#include "ddpm/serving/jobs/jobs.h"

// Jobs and its store: what is kept of a job, and what begins again.
namespace ddpm {
namespace {

// A job that ends the process must not do so for ever, and those that only waited for it, or for a
// server that something else ended, must not pay for that.
constexpr int kMaxInterruptions = 1;
constexpr int kMaxRestarts = 5;

std::string why_not_again(const JobSnapshot& job) {
  if (job.interruptions > kMaxInterruptions) return "the server was killed twice while it drew it";
  if (job.restarts >= kMaxRestarts) {
    return "the server was killed " + std::to_string(job.restarts + 1) + " times while it waited";
  }
  return "";
}

}  // namespace

void Jobs::fail(const JobPtr& job, JobError error) {
  {
    const std::lock_guard lock(mutex_);
    job->shown.error = std::move(error);
    set_end(*job, JobState::kFailed);
    add_event(*job, {.kind = JobEvent::Kind::kEnd});
  }
  store(job);
}

void Jobs::begin_again(const JobPtr& job) {
  const JobId& id = job->shown.id;
  if (const std::string why = why_not_again(job->shown); !why.empty()) {
    log_warn("[jobs] job " + id + " does not begin again: " + why);
    return fail(job, {JobErrorCode::kInterrupted, why});
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
  if (shown.error && shown.error->code == JobErrorCode::kStopped) {  // for the next server
    shown = begun_anew(shown);
    shown.restarts = 0;
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
