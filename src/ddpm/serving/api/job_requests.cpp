#include "ddpm/serving/api/job_requests.h"

#include <nlohmann/json.hpp>

#include <algorithm>
#include <charconv>

#include "ddpm/core/one_line.h"
#include "ddpm/serving/api/generation_options.h"
#include "ddpm/serving/http/http_json.h"

namespace ddpm {
namespace {

constexpr std::size_t kMaxKeyBytes = 255;

std::string idempotency_key_of(const HttpRequest& request) {
  const std::string* const key = find_header(request.headers, "Idempotency-Key");
  if (key == nullptr) return "";
  const bool is_printable = std::all_of(key->begin(), key->end(),
                                        [](char letter) { return letter > ' ' && letter <= '~'; });
  if (key->empty() || key->size() > kMaxKeyBytes || !is_printable) {
    throw HttpError(400, "invalid_request",
                    "[Idempotency-Key] expected 1 to 255 printable ASCII letters without blanks",
                    "Idempotency-Key");
  }
  return std::to_string(request.key) + ":" + *key;
}

}  // namespace

JobRequest job_request_of(const Service& service, const HttpRequest& request) {
  JobRequest job =
      parse_generation(parse_client_json(request.body), service.models, service.limits);
  job.idempotency_key = idempotency_key_of(request);
  return job;
}

HttpError no_such_job() { return {404, "not_found", "There is no such job, or no longer."}; }

JobSnapshot find_job(const Service& service, const HttpRequest& request) {
  auto job = service.jobs.find(request.parameters.at("id"));
  if (!job) throw no_such_job();
  return *std::move(job);
}

uint64_t parse_count(const std::string& text, uint64_t max, const std::string& field, int status) {
  uint64_t count = 0;
  const char* const end = text.data() + text.size();
  const auto [rest, error] = std::from_chars(text.data(), end, count);
  const bool is_count = error == std::errc() && rest == end && !text.empty() && count <= max;
  if (is_count) return count;
  throw HttpError(status, status == 404 ? "not_found" : "invalid_request",
                  "[" + field + "] expected a whole number up to " + std::to_string(max) +
                      ", got '" + one_line(text) + "'",
                  field);
}

}  // namespace ddpm
