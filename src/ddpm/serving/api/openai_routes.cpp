#include "ddpm/serving/api/openai_routes.h"

#include <nlohmann/json.hpp>

#include <atomic>
#include <chrono>
#include <string>
#include <utility>

#include "ddpm/serving/api/image_encoding.h"
#include "ddpm/serving/api/job_json.h"
#include "ddpm/serving/api/job_requests.h"
#include "ddpm/serving/api/openai_request.h"
#include "ddpm/serving/api/submit_job.h"
#include "ddpm/serving/http/http_stream.h"

namespace ddpm {
namespace {

using nlohmann::json;

int64_t unix_seconds(JobClock::time_point time) {
  return std::chrono::duration_cast<std::chrono::seconds>(time.time_since_epoch()).count();
}

/// What every answer and event about images says besides them. Nothing is billed.
json facts_of(const OpenAiRequest& request, JobClock::time_point created) {
  return {{"output_format", request.output_format},
          {"size", request.size},
          {"quality", "auto"},
          {"background", "opaque"},
          {"usage",
           {{"total_tokens", 0},
            {"input_tokens", 0},
            {"output_tokens", 0},
            {"input_tokens_details", {{"text_tokens", 0}, {"image_tokens", 0}}}}},
          {request.stream ? "created_at" : "created", unix_seconds(created)}};
}

/// "http://" and what the client called us.
std::string own_address(const HttpRequest& request) {
  const std::string* const host = find_header(request.headers, "Host");
  return host == nullptr ? std::string() : "http://" + *host;
}

HttpError error_of_end(const Service& service, const JobId& id) {
  const auto job = service.jobs.find(id);
  return job ? error_of_job(*job) : HttpError(409, "cancelled", "The job was cancelled.");
}

HttpResponse images_response(const OpenAiRequest& asked, const HttpRequest& request,
                             const JobSnapshot& job) {
  json answer = facts_of(asked, job.created);
  json data = json::array();
  for (const auto& [number, image] : job.images) {
    if (asked.wants_url) {
      const std::string path = image_json(job, number).at("url").get<std::string>();
      data.push_back({{"url", own_address(request) + path}});
    } else {
      data.push_back({{"b64_json", to_base64(image->bytes)}});
    }
  }
  answer["data"] = std::move(data);
  answer["seed"] = job.request.engine.seed;
  return json_response(200, answer.dump());
}

/// Sends a job's partial images and its image to one client.
class ImageStream {
 public:
  ImageStream(Service& service, OpenAiRequest asked, JobSnapshot job,
              std::shared_ptr<HttpStream> stream)
      : service_(service),
        asked_(std::move(asked)),
        job_(std::move(job)),
        stream_(std::move(stream)) {}

  void write(const JobEvent& event) {
    if (event.kind == JobEvent::Kind::kPreview) write_partial(event);
    if (event.kind == JobEvent::Kind::kEnd) write_end();
  }

 private:
  void send(const char* type, json data) const {
    data["type"] = type;
    stream_->write(sse_event(type, data.dump()));
  }

  /// Of the previews the first after each equal part of the way.
  void write_partial(const JobEvent& event) {
    const int64_t part = event.progress.num_steps * (sent_ + 1) / (asked_.partial_images + 1);
    if (sent_ >= asked_.partial_images || event.step < part) return;
    json data = facts_of(asked_, job_.created);
    const std::string url = png_data_url(event.pred_x_start);
    data["b64_json"] = url.substr(url.find(',') + 1);
    data["output_format"] = "png";
    data["partial_image_index"] = sent_++;
    send("image_generation.partial_image", std::move(data));
  }

  void write_end() const {
    const auto job = service_.jobs.find(job_.id);
    if (job && job->state == JobState::kSucceeded) {
      json data = facts_of(asked_, job_.created);
      data["b64_json"] = to_base64(job->images.begin()->second->bytes);
      data["seed"] = job->request.engine.seed;
      send("image_generation.completed", std::move(data));
    } else {
      stream_->write(sse_event("error", openai_error_json(error_of_end(service_, job_.id)).dump()));
    }
    stream_->close();
    service_.jobs.remove(job_.id);
  }

  Service& service_;
  const OpenAiRequest asked_;
  const JobSnapshot job_;
  const std::shared_ptr<HttpStream> stream_;
  int64_t sent_ = 0;  ///< Partial images; events come from one thread.
};

void answer_by_stream(Service& service, OpenAiRequest asked, const JobSnapshot& job,
                      const HttpResponder& responder) {
  auto stream = std::make_shared<HttpStream>();
  const auto writer = std::make_shared<ImageStream>(service, std::move(asked), job, stream);
  const auto watch =
      service.watcher.watch(job.id, 0, [writer](const JobEvent& event) { writer->write(event); });
  if (watch == nullptr) throw no_such_job();
  stream->on_gone([&service, id = job.id, watch] {
    service.watcher.run([&service, id] { service.jobs.remove(id); });
  });
  HttpResponse response;
  response.body = HttpStreamBody{.stream = std::move(stream), .ping = ": ping\n\n"};
  response.media_type = "text/event-stream";
  response.headers.emplace_back("Cache-Control", "no-store");
  responder.send(std::move(response));
}

void answer_when_done(Service& service, const OpenAiRequest& asked, const JobSnapshot& job,
                      const std::shared_ptr<const HttpRequest>& request,
                      const HttpResponder& responder) {
  const auto answer = [&service, asked, id = job.id, request, responder](const JobEvent& event) {
    if (event.kind != JobEvent::Kind::kEnd) return;
    const auto done = service.jobs.find(id);
    if (done && done->state == JobState::kSucceeded) {
      responder.send(images_response(asked, *request, *done));
      if (asked.wants_url) return;  // the images are fetched later
    } else {
      responder.send(openai_error_response(error_of_end(service, id)));
    }
    service.jobs.remove(id);
  };
  const auto watch = service.watcher.watch(job.id, 0, answer);
  if (watch == nullptr) throw no_such_job();
  responder.on_gone([&service, id = job.id, watch] {
    service.watcher.run([&service, id] { service.jobs.remove(id); });
  });
}

void generate_images(Service& service, const std::shared_ptr<const HttpRequest>& request,
                     const HttpResponder& responder) {
  try {
    OpenAiRequest asked = parse_openai_request(service, *request);
    const JobSnapshot job = submit_job(service, asked.job);
    if (asked.stream) {
      answer_by_stream(service, std::move(asked), job, responder);
    } else {
      answer_when_done(service, asked, job, request, responder);
    }
  } catch (const HttpError& error) {
    responder.send(openai_error_response(error));
  }
}

}  // namespace

void add_openai_routes(HttpRouter& router, Service& service) {
  router.add({.method = HttpMethod::kPost,
              .pattern = "/v1/images/generations",
              .access = HttpAccess::kKey,
              .handler =
                  [&service](const std::shared_ptr<const HttpRequest>& request,
                             const HttpResponder& responder) {
                    generate_images(service, request, responder);
                  },
              .max_body_bytes = HttpRouter::kJsonBodyBytes,
              .on_worker = true});
}

}  // namespace ddpm
