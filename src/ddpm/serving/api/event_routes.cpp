#include <nlohmann/json.hpp>

#include <limits>
#include <stdexcept>
#include <utility>

#include "ddpm/serving/api/image_encoding.h"
#include "ddpm/serving/api/job_json.h"
#include "ddpm/serving/api/job_requests.h"
#include "ddpm/serving/api/native_routes.h"
#include "ddpm/serving/http/http_stream.h"

namespace ddpm {
namespace {

using nlohmann::json;

constexpr std::size_t kMaxQueuedBytes = std::size_t{512} << 10;
constexpr const char* kPing = ": ping\n\n";

/// A job's events as one client reads them.
class EventWriter {
 public:
  EventWriter(Service& service, JobId id, std::shared_ptr<HttpStream> stream)
      : service_(service), id_(std::move(id)), stream_(std::move(stream)) {}

  void write(const JobEvent& event) const {
    const auto job = service_.jobs.find(id_);
    if (!job) {  // forgotten meanwhile
      stream_->write(sse_event("end", json{{"state", "cancelled"}, {"error", nullptr}}.dump()));
      stream_->close();
      return;
    }
    switch (event.kind) {
      case JobEvent::Kind::kState:
        return write_state(event);
      case JobEvent::Kind::kProgress:
        return send(event, "progress", progress_json(*job, event.progress));
      case JobEvent::Kind::kPreview:
        return write_preview(event);
      case JobEvent::Kind::kImage:
        if (job->images.contains(event.image)) send(event, "image", image_json(*job, event.image));
        return;
      case JobEvent::Kind::kTrace:
        return send(event, "trace", {{"step", event.step}, {"t", event.t}});
      case JobEvent::Kind::kEnd:
        send(event, "end",
             {{"state", job_state_word(job->state)}, {"error", job_error_json(*job)}});
        stream_->close();
        return;
    }
    throw std::logic_error("[EventWriter] not a kind of JobEvent");
  }

 private:
  void send(const JobEvent& event, const char* name, const json& data) const {
    stream_->write(sse_event(name, data.dump(), std::to_string(event.number)));
  }

  /// Of a position only the newest counts, and it is no event to resume at.
  void write_state(const JobEvent& event) const {
    const bool waits = event.state == JobState::kQueued;
    const json data{{"state", job_state_word(event.state)},
                    {"position", waits ? json(event.position) : json(nullptr)}};
    if (!waits) return send(event, "state", data);
    stream_->write_latest("position", sse_event("state", data.dump()));
  }

  /// A client that reads slowly does without previews, rather than being cut.
  void write_preview(const JobEvent& event) const {
    const json data{{"index", event.image},
                    {"step", event.step},
                    {"t", event.t},
                    {"pred_x_start", png_data_url(event.pred_x_start)}};
    std::string text = sse_event("preview", data.dump(), std::to_string(event.number));
    if (stream_->queued_bytes() + text.size() > kMaxQueuedBytes / 2) return;
    stream_->write_latest("preview " + std::to_string(event.image), std::move(text));
  }

  Service& service_;
  const JobId id_;
  const std::shared_ptr<HttpStream> stream_;
};

uint64_t last_event_of(const HttpRequest& request) {
  const std::string* const id = find_header(request.headers, "Last-Event-ID");
  if (id == nullptr || id->empty()) return 0;
  return parse_count(*id, std::numeric_limits<int64_t>::max(), "Last-Event-ID", 400);
}

HttpResponse get_events(Service& service, const HttpRequest& request) {
  const JobId& id = request.parameters.at("id");
  auto stream = std::make_shared<HttpStream>(kMaxQueuedBytes);
  const auto watch = service.watcher.watch(
      id, last_event_of(request),
      [writer = EventWriter(service, id, stream)](const JobEvent& event) { writer.write(event); });
  if (watch == nullptr) throw no_such_job();
  stream->on_gone([watch] {});  // which keeps the watch until the client leaves or all is told
  HttpResponse response;
  response.body = HttpStreamBody{.stream = std::move(stream), .ping = kPing};
  response.media_type = "text/event-stream";
  response.headers.emplace_back("Cache-Control", "no-store");
  return response;
}

}  // namespace

void add_event_routes(HttpRouter& router, Service& service) {
  router.add(HttpMethod::kGet, "/v1/jobs/{id}/events", HttpAccess::kKey,
             [&service](const HttpRequest& request) { return get_events(service, request); });
}

}  // namespace ddpm
