#include "ddpm/serving/jobs/jobs.h"

#include <algorithm>
#include <exception>
#include <future>
#include <utility>

#include "ddpm/core/log.h"

namespace ddpm {
Jobs::Jobs(Engine& engine, Encoder encoder, JobsOptions options)
    : engine_(engine), encoder_(std::move(encoder)), options_(std::move(options)) {
  if (options_.store == nullptr) return;
  for (JobSnapshot& kept : options_.store->load()) restore(std::move(kept));
  expire();
}

Jobs::~Jobs() {
  std::promise<void> encoded;
  encoding_.run([&] { encoded.set_value(); });
  encoded.get_future().wait();
}

void Jobs::add_event(Job& job, JobEvent event) {
  event.state = job.shown.state;
  event.progress = job.shown.progress;
  job.log.add(std::move(event));
  call_listeners(job);
}

void Jobs::call_listeners(Job& job) {
  std::erase_if(job.listeners, [](const std::weak_ptr<Listener>& held) {
    const auto listener = held.lock();
    if (listener == nullptr) return true;
    tell("news of a job", *listener);
    return false;
  });
}

void Jobs::tell_positions() {
  const JobClock::time_point now = options_.now();
  if (!positions_changed_ || now - positions_told_ < options_.position_interval) return;
  positions_changed_ = false;
  positions_told_ = now;
  for (const JobPtr& job : table_.queued()) call_listeners(*job);
}

void Jobs::on_start(const JobPtr& job) {
  {
    const std::lock_guard lock(mutex_);
    job->shown.state = JobState::kRunning;
    job->shown.started = options_.now();
    add_event(*job, {.kind = JobEvent::Kind::kState});
    positions_changed_ = true;
    tell_positions();
  }
  if (options_.store != nullptr) encoding_.run([this, job] { store(job); });
}

void Jobs::on_progress(Job& job, const ImageProgress& event) {
  const std::lock_guard lock(mutex_);
  JobProgress& progress = job.shown.progress;
  ++progress.steps_done;
  progress.num_steps = event.num_steps * progress.num_images;
  if (event.pred_x_start.defined()) {
    add_event(job, {.kind = JobEvent::Kind::kPreview,
                    .image = event.image,
                    .step = event.step,
                    .t = event.t,
                    .pred_x_start = event.pred_x_start});
  }
  const JobClock::time_point now = options_.now();
  if (now - job.progress_told < options_.progress_interval) return;
  job.progress_told = now;
  add_event(job, {.kind = JobEvent::Kind::kProgress});
  tell_positions();
}

EngineEvents Jobs::events_of(const JobPtr& job) {
  EngineEvents events;
  events.start = [this, job](EngineTicket) { on_start(job); };
  events.progress = [this, job](const ImageProgress& event) { on_progress(*job, event); };
  if (options_.encode_frame) {
    events.trace = [this, job](const ImageTrace& trace) {
      encoding_.run([this, job, trace] { keep_frame(job, trace); });
    };
  }
  events.image = [this, job](const ImageResult& result) {
    encoding_.run([this, job, result] { keep_image(job, result); });
  };
  events.end = [this, job](const RequestEnd& end) {
    encoding_.run([this, job, end] { finish(job, end); });
  };
  return events;
}

void Jobs::submit_to_engine(const JobPtr& job) {
  const EngineTicket ticket = engine_.submit(job->shown.request.engine, events_of(job));
  const std::lock_guard lock(mutex_);
  job->ticket = ticket;
  if (job->is_cancelled) engine_.cancel(ticket);
}

void Jobs::give_to_engine(const JobPtr& job) {
  try {
    submit_to_engine(job);
  } catch (...) {
    const std::lock_guard lock(mutex_);
    table_.erase(job);
    throw;
  }
}

JobPtr Jobs::find_or_begin(JobRequest request, bool& is_new) {
  std::unique_lock one_of_a_key(keyed_mutex_, std::defer_lock);
  if (!request.idempotency_key.empty()) one_of_a_key.lock();
  JobPtr job;
  {
    const std::lock_guard lock(mutex_);
    job = table_.find_by_key(request);
    is_new = job == nullptr;
    if (is_new) {
      check_room(request.most_result_bytes);
      job = table_.insert(std::move(request), options_.now());
    }
  }
  if (is_new) give_to_engine(job);
  return job;
}

void Jobs::check_room(int64_t most_bytes) {
  const auto wait = table_.wait_for_room({options_.max_jobs, options_.max_result_bytes}, most_bytes,
                                         options_.now());
  if (!wait) return;
  ++num_refused_;
  throw JobsFull(std::chrono::duration<double>(*wait).count());
}

void Jobs::make_room() {
  table_.make_room({options_.max_jobs, options_.max_result_bytes}, options_.now());
}

JobSnapshot Jobs::submit(JobRequest request) {
  expire();
  bool is_new = false;
  const JobPtr job = find_or_begin(std::move(request), is_new);
  if (is_new) store(job);
  JobSnapshot shown;
  {
    const std::lock_guard lock(mutex_);
    make_room();
    shown = table_.snapshot(*job);
  }
  store_erased();
  return shown;
}

std::optional<JobSnapshot> Jobs::find(const JobId& id) const {
  const std::lock_guard lock(mutex_);
  const JobPtr job = table_.find(id);
  if (job == nullptr) return std::nullopt;
  if (is_over(job->shown.state)) {
    job->kept_until = std::max(job->kept_until, options_.now() + options_.next_look);
  }
  return table_.snapshot(*job);
}

std::vector<JobSnapshot> Jobs::list(std::size_t limit, const JobId& after) const {
  const std::lock_guard lock(mutex_);
  std::vector<JobSnapshot> jobs;
  for (const JobPtr& job : table_.newest(limit, after)) jobs.push_back(table_.snapshot(*job));
  return jobs;
}

std::optional<JobSnapshot> Jobs::remove(const JobId& id) {
  JobSnapshot shown;
  {
    const std::lock_guard lock(mutex_);
    const JobPtr job = table_.find(id);
    if (job == nullptr) return std::nullopt;
    shown = table_.snapshot(*job);
    if (is_over(job->shown.state)) {
      table_.erase(job);
    } else {
      job->is_cancelled = true;
      if (job->ticket != 0) engine_.cancel(job->ticket);
    }
  }
  store_erased();
  return shown;
}

std::optional<std::vector<JobEvent>> Jobs::events_after(const JobId& id, uint64_t number) const {
  const std::lock_guard lock(mutex_);
  const JobPtr job = table_.find(id);
  if (job == nullptr) return std::nullopt;
  return job->log.after(number);
}

std::shared_ptr<Jobs::Listener> Jobs::listen(const JobId& id, Listener listener) {
  const std::lock_guard lock(mutex_);
  const JobPtr job = table_.find(id);
  if (job == nullptr) return nullptr;
  auto held = std::make_shared<Listener>(std::move(listener));
  job->listeners.push_back(held);
  return held;
}

void Jobs::expire() {
  {
    const std::lock_guard lock(mutex_);
    table_.expire(options_.now() - options_.max_age);
    make_room();
  }
  store_erased();
}

int64_t Jobs::result_bytes() const {
  const std::lock_guard lock(mutex_);
  return table_.result_bytes();
}

JobsStats Jobs::stats() const {
  JobsStats stats;
  if (options_.store != nullptr) stats.failed_store_writes = options_.store->num_failed_writes();
  const std::lock_guard lock(mutex_);
  stats.queued = table_.count(JobState::kQueued);
  stats.running = table_.count(JobState::kRunning);
  stats.over = table_.size() - stats.queued - stats.running;
  stats.result_bytes = table_.result_bytes();
  stats.refused = num_refused_;
  return stats;
}

}  // namespace ddpm
