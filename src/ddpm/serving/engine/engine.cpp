#include "ddpm/serving/engine/engine.h"

#include <algorithm>
#include <chrono>
#include <utility>

#include "ddpm/core/check.h"

namespace ddpm {
namespace {

using std::chrono::milliseconds;

constexpr milliseconds kStatsInterval{50};
constexpr milliseconds kLongestWait{100};  // while a request is open: for clocks, not for news
constexpr double kMaxRetrySeconds = 300;

}  // namespace

Engine::Engine(const Models& models, const EngineOptions& options, PaceClock clock)
    : options_((check_engine_options(options), options)),
      pool_(
          options.max_model_bytes,
          [this](std::function<void()> task) { loader_.run(std::move(task)); },
          [this] {
            const std::lock_guard lock(mutex_);
            mail_.pool_changed = true;
            mail_came_.notify_all();
          }),
      core_(options_, pool_, std::move(clock)),
      loans_([this] {
        const std::lock_guard lock(mutex_);
        mail_.loan_called = true;
        mail_came_.notify_all();
      }) {
  set_models(models);
  thread_ = std::thread([this] { loop(); });
}

Engine::~Engine() {
  {
    const std::lock_guard lock(mutex_);
    is_draining_ = true;
    mail_.stop_requests = true;
    mail_.quit = true;
  }
  mail_came_.notify_all();
  thread_.join();
}

void Engine::set_models(const Models& models) {
  std::map<std::string, std::shared_ptr<const EngineModel>> by_id;
  for (const auto& model : models) {
    check_engine_model(*model, options_);
    check_arg(by_id.emplace(model->id, model).second,
              "[engine] models: expected ids that differ, got two of ", model->id);
  }
  const std::lock_guard lock(mutex_);
  models_ = std::move(by_id);
  mail_.forget_models = true;
  mail_came_.notify_all();
}

std::shared_ptr<const EngineModel> Engine::find_model(const std::string& id) const {
  const std::lock_guard lock(mutex_);
  const auto found = models_.find(id);
  return found == models_.end() ? nullptr : found->second;
}

EngineNetwork Engine::lend_network(std::shared_ptr<const EngineModel> model) {
  const auto loan = std::make_shared<EngineLoan>(EngineLoan{.model = std::move(model)});
  return [this, loan](const Tensor& x_t, const Tensor& t, const Tensor& class_labels) {
    return loans_.call(loan, x_t, t, class_labels);
  };
}

EngineEvents Engine::remembered(EngineEvents events) {
  events.end = [this, end = std::move(events.end)](const RequestEnd& how) {
    tell("end", [&] {
      if (end) end(how);
    });
    forget(how.ticket);
  };
  return events;
}

double Engine::seconds_until_room() const {
  const double all = static_cast<double>(stats_.open_calls) * stats_.seconds_per_call;
  return std::clamp(all / 4, 1.0, kMaxRetrySeconds);
}

void Engine::enter(OpenRequest& request) {
  if (is_draining_) {
    ++stats_.rejected_draining;
    throw EngineRejected(RejectReason::kDraining, "[engine] the server is shutting down");
  }
  const int64_t images = request.request.num_images;
  const bool has_room = open_images_ + images <= options_.max_open_images &&
                        plans_.size_bytes() <= options_.max_plan_bytes;
  if (!has_room) {
    ++stats_.rejected_full;
    throw EngineRejected(RejectReason::kQueueFull, "[engine] the queue is full",
                         seconds_until_room());
  }
  request.ticket = ++last_ticket_;
  open_[request.ticket] = images;
  open_images_ += images;
  is_settled_ = false;
}

EngineTicket Engine::submit(EngineRequest request, EngineEvents events) {
  const std::shared_ptr<const EngineModel> model = find_model(request.model);
  if (model == nullptr) {
    throw EngineRejected(RejectReason::kUnknownModel, "[engine] model: expected the id of a model");
  }
  auto open =
      open_request(std::move(request), remembered(std::move(events)), model, options_, plans_);
  EngineTicket ticket = 0;
  {
    const std::lock_guard lock(mutex_);
    enter(*open);
    ticket = open->ticket;
    mail_.accepted.push_back(std::move(open));
  }
  mail_came_.notify_all();
  return ticket;
}

bool Engine::cancel(EngineTicket ticket) {
  {
    const std::lock_guard lock(mutex_);
    if (!open_.contains(ticket)) return false;
    mail_.cancelled.push_back(ticket);
  }
  mail_came_.notify_all();
  return true;
}

void Engine::forget(EngineTicket ticket) {
  const std::lock_guard lock(mutex_);
  const auto found = open_.find(ticket);
  open_images_ -= found->second;
  open_.erase(found);
}

EngineStats Engine::stats() const {
  const std::lock_guard lock(mutex_);
  EngineStats stats = stats_;
  stats.open_requests = static_cast<int64_t>(open_.size());
  stats.open_images = open_images_;
  stats.plan_bytes = plans_.size_bytes();
  return stats;
}

bool Engine::drain(EngineClock::time_point deadline) {
  std::unique_lock lock(mutex_);
  is_draining_ = true;
  const auto is_done = [this] { return open_.empty() && is_settled_; };
  const bool was_in_time = settled_.wait_until(lock, deadline, is_done);
  mail_.stop_requests = true;  // also where none is open: borrowers of a network go on for ever
  is_settled_ = false;
  mail_came_.notify_all();
  settled_.wait(lock, is_done);
  return was_in_time;
}

/// Until when the thread leaves the device to the call that it makes; nothing if not at all.
std::optional<EngineClock::time_point> Engine::held_until() const {
  const auto until = loans_.is_idle() ? core_.next_tick() : std::nullopt;
  return until && EngineClock::now() < *until ? until : std::nullopt;
}

Engine::Mail Engine::take_mail(bool has_work) {
  std::unique_lock lock(mutex_);
  const auto has_mail = [this] {
    return !mail_.accepted.empty() || !mail_.cancelled.empty() || mail_.stop_requests ||
           mail_.forget_models || mail_.quit || mail_.pool_changed || mail_.loan_called;
  };
  if (!has_work && core_.is_idle() && loans_.is_idle()) {
    mail_came_.wait(lock, has_mail);
  } else if (!has_work) {
    const auto latest = EngineClock::now() + kLongestWait;
    mail_came_.wait_until(lock, std::min(latest, core_.next_deadline()), has_mail);
  } else if (const auto until = held_until()) {
    mail_came_.wait_until(lock, *until, has_mail);
  }
  return std::exchange(mail_, Mail());
}

void Engine::read(Mail mail) {
  for (auto& request : mail.accepted) core_.accept(std::move(request));
  for (const EngineTicket ticket : mail.cancelled) core_.cancel(ticket);
  if (mail.stop_requests) {
    core_.stop();
    loans_.stop();
  }
  if (!mail.forget_models) return;
  Models models;
  {
    const std::lock_guard lock(mutex_);
    for (const auto& [id, model] : models_) models.push_back(model);
  }
  pool_.keep(models);
}

void Engine::publish_stats(bool is_idle) {
  const EngineClock::time_point now = EngineClock::now();
  if (!is_idle && now - published_ < kStatsInterval) return;
  published_ = now;
  EngineStats stats = core_.stats();
  stats.lent_calls = loans_.num_calls();
  const std::lock_guard lock(mutex_);
  stats.rejected_full = stats_.rejected_full;
  stats.rejected_draining = stats_.rejected_draining;
  stats_ = stats;
  is_settled_ = is_idle && mail_.accepted.empty();
  if (is_settled_) settled_.notify_all();
}

void Engine::loop() {
  bool has_work = false;
  for (;;) {
    Mail mail = take_mail(has_work);
    const bool quits = mail.quit;
    read(std::move(mail));
    if (quits) return;
    if (has_work && held_until()) continue;  // what came joins the next call, and more may come
    const EngineClock::time_point now = EngineClock::now();
    has_work = core_.tick(now);
    if (loans_.serve(pool_, now)) has_work = true;
    publish_stats(core_.is_idle());
  }
}

}  // namespace ddpm
