#include <nlohmann/json.hpp>

#include <utility>

#include "ddpm/serving/api/image_encoding.h"
#include "ddpm/serving/api/job_requests.h"
#include "ddpm/serving/api/native_routes.h"
#include "ddpm/serving/api/submit_job.h"

namespace ddpm {
namespace {

using nlohmann::json;

/// One image as it is, several as JSON.
HttpResponse images_response(const JobSnapshot& job) {
  HttpResponse response;
  const std::string seed = std::to_string(job.request.engine.seed);
  if (job.images.size() == 1) {
    const std::shared_ptr<const JobImage>& image = job.images.begin()->second;
    response.body = SharedBytes(image, &image->bytes);
    response.media_type = image->media_type;
  } else {
    json images = json::array();
    for (const auto& [number, image] : job.images) {
      images.push_back({{"b64", to_base64(image->bytes)},
                        {"seed", job.request.engine.seed},
                        {"index", number},
                        {"media_type", image->media_type}});
    }
    response = json_response(200, json{{"images", std::move(images)}}.dump());
  }
  response.headers.emplace_back("X-Seed", seed);
  response.headers.emplace_back("Cache-Control", "no-store");
  return response;
}

/// A job whose client waits for its images.
struct WaitingClient {
  Service& service;
  JobId id;
  bool keeps_job;  ///< It may come again, with the same Idempotency-Key.
  std::shared_ptr<const HttpRequest> request;
  HttpResponder responder;

  void answer() const {
    const auto job = service.jobs.find(id);
    if (!job) {
      responder.send(HttpError(409, "cancelled", "The job was cancelled."), *request);
    } else if (job->state == JobState::kSucceeded) {
      responder.send(images_response(*job));
    } else {
      const HttpError error = error_of_job(*job);
      responder.send(error, *request);
    }
    if (!keeps_job) service.jobs.remove(id);
  }
};

void generate(Service& service, const std::shared_ptr<const HttpRequest>& request,
              const HttpResponder& responder) {
  JobRequest job_request = job_request_of(service, *request);
  const bool keeps_job = !job_request.idempotency_key.empty();
  const JobId id = submit_job(service, std::move(job_request)).id;
  const WaitingClient client{service, id, keeps_job, request, responder};
  const auto watch = service.watcher.watch(id, 0, [client](const JobEvent& event) {
    if (event.kind == JobEvent::Kind::kEnd) client.answer();
  });
  if (watch == nullptr) throw no_such_job();
  // The watch lives as long as the client waits; a client that leaves takes its job along.
  responder.on_gone([&service, id, keeps_job, watch] {
    if (!keeps_job) service.watcher.run([&service, id] { service.jobs.remove(id); });
  });
}

}  // namespace

void add_generate_route(HttpRouter& router, Service& service) {
  router.add(
      {.method = HttpMethod::kPost,
       .pattern = "/v1/generate",
       .access = HttpAccess::kKey,
       .handler = [&service](
                      const std::shared_ptr<const HttpRequest>& request,
                      const HttpResponder& responder) { generate(service, request, responder); },
       .max_body_bytes = HttpRouter::kJsonBodyBytes,
       .on_worker = true});
}

}  // namespace ddpm
