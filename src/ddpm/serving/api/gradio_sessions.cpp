#include "ddpm/serving/api/gradio_sessions.h"

#include <nlohmann/json.hpp>

#include <algorithm>
#include <chrono>
#include <utility>
#include <vector>

#include "ddpm/serving/api/gradio_reporter.h"
#include "ddpm/serving/http/http_message.h"

namespace ddpm {
namespace {

using nlohmann::json;

constexpr std::size_t kMaxSessions = 2000;
constexpr std::size_t kMaxStreamBytes = std::size_t{1} << 20;
constexpr std::chrono::seconds kLeftAfter{60};

/// One job's messages in the session's stream.
class GradioStreamWriter {
 public:
  GradioStreamWriter(GradioReporter reporter, std::shared_ptr<HttpStream> stream)
      : reporter_(std::move(reporter)), stream_(std::move(stream)) {}

  void write(const JobEvent& event) {
    auto message = reporter_.message_of(event);
    if (!message) return;
    const std::string& name = message->at("msg").get_ref<const std::string&>();
    const std::string slot = name + message->at("event_id").get<std::string>();
    if (name == "progress" || name == "estimation") {
      stream_->write_latest(slot, sse_event("", message->dump()));
    } else if (name == "process_generating") {
      write_generating(slot, *message);
    } else {
      stream_->write(sse_event("", message->dump()));
    }
  }

 private:
  /// The first time values, then what changes in them: all. Slow readers do without.
  void write_generating(const std::string& slot, json& message) {
    if (stream_->queued_bytes() > kMaxStreamBytes / 2) return;
    if (!std::exchange(has_values_, true)) {
      stream_->write(sse_event("", message.dump()));
      return;
    }
    for (json& value : message.at("output").at("data")) {
      value = json::array({json::array({"replace", json::array(), std::move(value)})});
    }
    stream_->write_latest(slot, sse_event("", message.dump()));
  }

  GradioReporter reporter_;
  const std::shared_ptr<HttpStream> stream_;
  bool has_values_ = false;
};

}  // namespace

void cancel_gradio_job(Service& service, const JobId& id) {
  const auto job = service.jobs.find(id);
  if (job && !is_over(job->state)) service.jobs.remove(id);
}

bool GradioSessions::is_left(const Session& session) const {
  if (session.stream) return false;
  const auto now = JobClock::now();
  return std::all_of(session.events.begin(), session.events.end(), [&](const auto& event) {
    const auto job = service_.jobs.find(event.first);
    return !job || (job->finished && now - *job->finished > kLeftAfter);
  });
}

void GradioSessions::make_room() {
  const std::lock_guard lock(mutex_);
  if (sessions_.size() < kMaxSessions) return;
  std::erase_if(sessions_, [this](const auto& each) { return is_left(each.second); });
  if (sessions_.size() < kMaxSessions) return;
  throw HttpError(429, "queue_full", "Too many sessions are open: try again later.");
}

void GradioSessions::join(const std::string& name, const JobId& id, std::string address) {
  const std::lock_guard lock(mutex_);
  sessions_[name].events[id].address = std::move(address);
}

void GradioSessions::tell(const std::string& name, const JobId& id) {
  const std::lock_guard lock(mutex_);
  const auto found = sessions_.find(name);
  if (found == sessions_.end() || !found->second.stream) return;
  const auto event = found->second.events.find(id);
  const bool is_told = event == found->second.events.end() || event->second.watch != nullptr;
  if (is_told) return;  // by a stream that was opened since the job joined
  begin(name, found->second, id);
  close_if_done(name);
}

/// Tells the session's stream of the job from its begin on.
void GradioSessions::begin(const std::string& name, Session& session, const JobId& id) {
  Event& event = session.events.at(id);
  const auto writer = std::make_shared<GradioStreamWriter>(
      GradioReporter(service_, id, event.address), session.stream);
  event.watch = service_.watcher.watch(
      id, 0,
      [self = weak_from_this(), name, id, writer, stream = session.stream](const JobEvent& told) {
        writer->write(told);
        const auto held = self.lock();
        if (told.kind == JobEvent::Kind::kEnd && held) held->end(name, id, stream.get());
      });
  if (event.watch != nullptr) return;
  writer->write({.kind = JobEvent::Kind::kEnd});  // it was forgotten meanwhile
  session.events.erase(id);
}

void GradioSessions::close_if_done(const std::string& name) {
  const auto found = sessions_.find(name);
  if (!found->second.events.empty()) return;
  found->second.stream->write(sse_event("", R"({"msg":"close_stream"})"));
  found->second.stream->close();
  sessions_.erase(found);
}

std::shared_ptr<HttpStream> GradioSessions::open(const std::string& name) {
  auto stream = std::make_shared<HttpStream>(kMaxStreamBytes);
  stream->on_gone([self = weak_from_this(), name, gone = stream.get()] {
    if (const auto held = self.lock()) held->leave(name, gone);
  });
  const std::lock_guard lock(mutex_);
  Session& session = sessions_[name];
  if (session.stream) session.stream->close();
  session.stream = stream;
  std::vector<JobId> ids;
  for (const auto& event : session.events) ids.push_back(event.first);
  for (const JobId& id : ids) begin(name, session, id);
  if (!ids.empty()) close_if_done(name);
  return stream;
}

void GradioSessions::end(const std::string& name, const JobId& id, const HttpStream* stream) {
  const std::lock_guard lock(mutex_);
  const auto found = sessions_.find(name);
  if (found == sessions_.end() || found->second.stream.get() != stream) return;
  found->second.events.erase(id);
  close_if_done(name);
}

void GradioSessions::leave(const std::string& name, const HttpStream* stream) {
  std::vector<JobId> ids;
  {
    const std::lock_guard lock(mutex_);
    const auto found = sessions_.find(name);
    if (found == sessions_.end() || found->second.stream.get() != stream) return;
    for (const auto& event : found->second.events) ids.push_back(event.first);
    sessions_.erase(found);
  }
  for (const JobId& id : ids) {
    service_.watcher.run([&service = service_, id] { cancel_gradio_job(service, id); });
  }
}

}  // namespace ddpm
