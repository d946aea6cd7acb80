#include <limits>
#include <utility>

#include "ddpm/serving/api/image_encoding.h"
#include "ddpm/serving/api/job_requests.h"
#include "ddpm/serving/api/native_routes.h"

namespace ddpm {
namespace {

constexpr uint64_t kMaxNumber = std::numeric_limits<int32_t>::max();

/// Bytes that never change under their URL, for the client alone.
HttpResponse result_response(SharedBytes bytes, std::string media_type, const std::string& name) {
  HttpResponse response;
  response.body = std::move(bytes);
  response.media_type = std::move(media_type);
  response.etag = "\"" + name + "\"";
  response.headers.emplace_back("Cache-Control", "private, max-age=3600");
  return response;
}

HttpError no_such_picture(const JobSnapshot& job) {
  return {404, "not_found",
          is_over(job.state) ? "The job has no such picture."
                             : "The job has no such picture, or not yet."};
}

/// {index} is "0", or "0.png" with the extension of the job's format.
HttpResponse get_image(const Service& service, const HttpRequest& request) {
  const JobSnapshot job = find_job(service, request);
  const std::string& name = request.parameters.at("index");
  const std::size_t dot = std::min(name.find('.'), name.size());
  const uint64_t index = parse_count(name.substr(0, dot), kMaxNumber, "index", 404);
  const auto found = job.images.find(static_cast<int64_t>(index));
  if (found == job.images.end()) throw no_such_picture(job);
  const std::shared_ptr<const JobImage>& image = found->second;
  const bool is_its_name =
      dot == name.size() || name.substr(dot + 1) == extension_of(image->media_type);
  if (!is_its_name) throw no_such_picture(job);
  HttpResponse response = result_response({image, &image->bytes}, image->media_type,
                                          job.id + "-" + std::to_string(index));
  response.headers.emplace_back("X-Seed", std::to_string(job.request.engine.seed));
  return response;
}

/// The bytes of a frame's picture; null for another name.
const std::string* picture_of(const JobFrame& frame, const std::string& name) {
  if (name == "x_t") return &frame.x_t;
  if (name == "noise") return &frame.eps;
  return name == "pred_x_start" ? &frame.pred_x_start : nullptr;
}

HttpResponse get_frame(const Service& service, const HttpRequest& request) {
  const JobSnapshot job = find_job(service, request);
  const uint64_t number = parse_count(request.parameters.at("frame"), kMaxNumber, "frame", 404);
  if (number >= job.trace.size()) throw no_such_picture(job);
  const std::shared_ptr<const JobFrame>& frame = job.trace[number];
  const std::string& name = request.parameters.at("picture");
  const std::string* const bytes = picture_of(*frame, name);
  if (bytes == nullptr) throw no_such_picture(job);
  return result_response({frame, bytes}, "image/png",
                         job.id + "-" + std::to_string(number) + "-" + name);
}

}  // namespace

void add_result_routes(HttpRouter& router, Service& service) {
  router.add(HttpMethod::kGet, "/v1/jobs/{id}/images/{index}", HttpAccess::kKey,
             [&service](const HttpRequest& request) { return get_image(service, request); });
  router.add(HttpMethod::kGet, "/v1/jobs/{id}/trace/{frame}/{picture}.png", HttpAccess::kKey,
             [&service](const HttpRequest& request) { return get_frame(service, request); });
}

}  // namespace ddpm
