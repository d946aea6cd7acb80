#include "ddpm/serving/jobs/job_table.h"

#include <algorithm>
#include <utility>

namespace ddpm {
namespace {

/// Someone who follows it is yet to read how it ended.
bool is_followed(const Job& job) {
  return std::any_of(job.listeners.begin(), job.listeners.end(),
                     [](const auto& listener) { return !listener.expired(); });
}

bool is_done_with(const Job& job) { return is_over(job.shown.state) && !is_followed(job); }

bool can_be_forgotten(const Job& job, JobClock::time_point now) {
  return is_done_with(job) && job.kept_until <= now;
}

/// Bytes that the results take, or may take when it is over.
int64_t most_bytes_of(const Job& job) {
  if (is_over(job.shown.state)) return job.size_bytes;
  return std::max(job.size_bytes, job.shown.request.most_result_bytes);
}

/// Until the next try where only open jobs are in the way.
constexpr std::chrono::seconds kWaitForOpenJobs{5};

}  // namespace

JobPtr JobTable::insert(JobRequest request, JobClock::time_point now) {
  auto job = std::make_shared<Job>();
  job->shown.id = random_job_id();
  job->shown.created = now;
  job->shown.progress.num_images = request.engine.num_images;
  job->shown.request = std::move(request);
  return insert(std::move(job));
}

JobPtr JobTable::restore(JobSnapshot kept) {
  auto job = std::make_shared<Job>();
  job->shown = std::move(kept);
  job->size_bytes = result_bytes_of(job->shown);
  result_bytes_ += job->size_bytes;
  return insert(std::move(job));
}

JobPtr JobTable::insert(JobPtr job) {
  job->order = ++last_order_;
  by_order_[job->order] = job;
  by_id_[job->shown.id] = job;
  const std::string& key = job->shown.request.idempotency_key;
  if (!key.empty()) by_key_[key] = job;
  return job;
}

void JobTable::erase(const JobPtr& job) {
  result_bytes_ -= job->size_bytes;
  by_order_.erase(job->order);
  by_id_.erase(job->shown.id);
  erased_.push_back(job->shown.id);
  const auto key = by_key_.find(job->shown.request.idempotency_key);
  if (key != by_key_.end() && key->second == job) by_key_.erase(key);
}

JobPtr JobTable::find(const JobId& id) const {
  const auto found = by_id_.find(id);
  return found == by_id_.end() ? nullptr : found->second;
}

JobPtr JobTable::find_by_key(const JobRequest& request) const {
  if (request.idempotency_key.empty()) return nullptr;
  const auto found = by_key_.find(request.idempotency_key);
  if (found == by_key_.end()) return nullptr;
  if (found->second->shown.request.fingerprint != request.fingerprint) {
    throw JobKeyConflict("[jobs] the idempotency key belongs to another request");
  }
  return found->second;
}

std::vector<JobPtr> JobTable::newest(std::size_t limit, const JobId& after) const {
  const JobPtr end = find(after);
  auto next = end == nullptr ? by_order_.end() : by_order_.find(end->order);
  std::vector<JobPtr> jobs;
  while (next != by_order_.begin() && jobs.size() < limit) {
    --next;
    jobs.push_back(next->second);
  }
  return jobs;
}

void JobTable::count_bytes(Job& job, std::size_t size_bytes) {
  job.size_bytes += static_cast<int64_t>(size_bytes);
  result_bytes_ += static_cast<int64_t>(size_bytes);
}

void JobTable::keep(Job& job, int64_t image, JobImage encoded) {
  count_bytes(job, encoded.bytes.size());
  job.shown.images[image] = std::make_shared<const JobImage>(std::move(encoded));
  ++job.shown.progress.images_done;
}

void JobTable::keep(Job& job, JobFrame frame) {
  count_bytes(job, frame.x_t.size() + frame.eps.size() + frame.pred_x_start.size());
  job.shown.trace.push_back(std::make_shared<const JobFrame>(std::move(frame)));
}

std::vector<JobPtr> JobTable::queued() const {
  std::vector<JobPtr> jobs;
  for (const auto& [order, job] : by_order_) {
    if (job->shown.state == JobState::kQueued) jobs.push_back(job);
  }
  return jobs;
}

void JobTable::make_room(const JobBounds& bounds, JobClock::time_point now) {
  for (auto next = by_order_.begin(); next != by_order_.end();) {
    if (result_bytes_ <= bounds.max_bytes && size() <= bounds.max_jobs) return;
    const JobPtr job = (next++)->second;
    if (can_be_forgotten(*job, now)) erase(job);
  }
}

std::optional<JobClock::duration> JobTable::wait_for_room(const JobBounds& bounds,
                                                          int64_t most_bytes,
                                                          JobClock::time_point now) const {
  int64_t num_jobs = 1;
  JobClock::duration wait = kWaitForOpenJobs;
  for (const auto& [order, job] : by_order_) {
    if (can_be_forgotten(*job, now)) continue;
    ++num_jobs;
    most_bytes += most_bytes_of(*job);
    if (is_done_with(*job)) wait = std::min(wait, job->kept_until - now);
  }
  const bool is_alone = num_jobs == 1;
  const bool has_room = num_jobs <= bounds.max_jobs && most_bytes <= bounds.max_bytes;
  if (is_alone || has_room) return std::nullopt;
  return wait;
}

void JobTable::expire(JobClock::time_point oldest) {
  for (auto next = by_order_.begin(); next != by_order_.end();) {
    const JobPtr job = (next++)->second;
    const bool is_old = job->shown.finished && *job->shown.finished < oldest;
    if (is_old && is_done_with(*job)) erase(job);
  }
}

int64_t JobTable::count(JobState state) const {
  return std::count_if(by_order_.begin(), by_order_.end(),
                       [&](const auto& entry) { return entry.second->shown.state == state; });
}

JobSnapshot JobTable::snapshot(const Job& job) const {
  JobSnapshot shown = job.shown;
  if (shown.state != JobState::kQueued) return shown;
  for (auto it = by_order_.begin(); it != by_order_.end() && it->first < job.order; ++it) {
    if (it->second->shown.state == JobState::kQueued) ++shown.position;
  }
  return shown;
}

}  // namespace ddpm
