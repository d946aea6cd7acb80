#include <nlohmann/json.hpp>

#include <utility>

#include "ddpm/serving/api/job_json.h"
#include "ddpm/serving/api/job_requests.h"
#include "ddpm/serving/api/native_routes.h"
#include "ddpm/serving/api/submit_job.h"

namespace ddpm {
namespace {

using nlohmann::json;

constexpr uint64_t kDefaultPage = 20;
constexpr uint64_t kMaxPage = 100;

HttpResponse post_job(Service& service, const HttpRequest& request) {
  const JobSnapshot job = submit_job(service, job_request_of(service, request));
  HttpResponse response = json_response(202, job_json(job).dump());
  response.headers.emplace_back("Location", job_path(job.id));
  return response;
}

/// Null where the query lacks it.
const std::string* query_of(const HttpRequest& request, const std::string& name) {
  const auto found = request.query.find(name);
  return found == request.query.end() ? nullptr : &found->second;
}

HttpResponse list_jobs(Service& service, const HttpRequest& request) {
  const std::string* const limit_text = query_of(request, "limit");
  const uint64_t limit =
      limit_text == nullptr ? kDefaultPage : parse_count(*limit_text, kMaxPage, "limit", 422);
  const std::string* const after = query_of(request, "after");
  if (after != nullptr && !service.jobs.find(*after)) {
    throw HttpError(422, "invalid_request", "[after] expected the id of a job that is kept",
                    "after");
  }
  std::vector<JobSnapshot> jobs = service.jobs.list(limit + 1, after == nullptr ? "" : *after);
  const bool has_more = jobs.size() > limit;
  if (has_more) jobs.pop_back();
  json data = json::array();
  for (const JobSnapshot& job : jobs) data.push_back(job_json(job));
  return json_response(
      200, json{{"object", "list"}, {"data", std::move(data)}, {"has_more", has_more}}.dump());
}

HttpResponse delete_job(Service& service, const HttpRequest& request) {
  const auto job = service.jobs.remove(request.parameters.at("id"));
  if (!job) throw no_such_job();
  return json_response(200, job_json(*job).dump());
}

/// In a worker: what changes jobs may write to a disk, and a list is long.
HttpLaterHandler on_worker(Service& service,
                           HttpResponse (*handler)(Service&, const HttpRequest&)) {
  return [&service, handler](const std::shared_ptr<const HttpRequest>& request,
                             const HttpResponder& responder) {
    responder.send(handler(service, *request));
  };
}

}  // namespace

void add_job_routes(HttpRouter& router, Service& service) {
  router.add({.method = HttpMethod::kPost,
              .pattern = "/v1/jobs",
              .access = HttpAccess::kKey,
              .handler = on_worker(service, post_job),
              .max_body_bytes = HttpRouter::kJsonBodyBytes,
              .on_worker = true});
  router.add({.method = HttpMethod::kDelete,
              .pattern = "/v1/jobs/{id}",
              .access = HttpAccess::kKey,
              .handler = on_worker(service, delete_job),
              .on_worker = true});
  router.add({.method = HttpMethod::kGet,
              .pattern = "/v1/jobs",
              .access = HttpAccess::kKey,
              .handler = on_worker(service, list_jobs),
              .on_worker = true});
  router.add(HttpMethod::kGet, "/v1/jobs/{id}", HttpAccess::kKey,
             [&service](const HttpRequest& request) {
               return json_response(200, job_json(find_job(service, request)).dump());
             });
}

}  // namespace ddpm
