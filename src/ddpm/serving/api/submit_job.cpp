#include "ddpm/serving/api/submit_job.h"

#include <algorithm>
#include <cmath>
#include <stdexcept>
#include <string>
#include <utility>

namespace ddpm {
namespace {

constexpr int kSecondsUntilRestart = 5;

HttpError with_retry_after(HttpError error, double seconds) {
  const auto whole = static_cast<int64_t>(std::ceil(std::max(seconds, 1.0)));
  error.headers.emplace_back("Retry-After", std::to_string(whole));
  return error;
}

HttpError error_of_rejection(const EngineRejected& rejected) {
  switch (rejected.reason) {
    case RejectReason::kQueueFull:
      return with_retry_after(HttpError(429, "queue_full", "The queue is full: try again later."),
                              rejected.retry_after_seconds);
    case RejectReason::kDraining:
      return with_retry_after(HttpError(503, "draining", "The server is shutting down."),
                              kSecondsUntilRestart);
    case RejectReason::kUnknownModel:
      return {404, "unknown_model", "[model] expected a model that is served, got one that is gone",
              "model"};
  }
  throw std::logic_error("[error_of_rejection] not a RejectReason");
}

HttpError error_of_failure(JobErrorCode code) {
  switch (code) {
    case JobErrorCode::kNonFinite:
      return {500, "non_finite", "The network's answers were not finite: no image can be shown."};
    case JobErrorCode::kTimedOut:
      return {504, "timeout", "The job's deadline passed.", "deadline_ms"};
    case JobErrorCode::kEngine:
    case JobErrorCode::kEncoding:
      return {500, "internal", "The server failed to draw the images; its log says why."};
    case JobErrorCode::kStopped:
      return with_retry_after(HttpError(503, "draining", "The server shut down meanwhile."),
                              kSecondsUntilRestart);
    case JobErrorCode::kInterrupted:
      return {500, "interrupted", "The server was interrupted while it drew the images."};
  }
  throw std::logic_error("[error_of_failure] not a JobErrorCode");
}

}  // namespace

JobSnapshot submit_job(Service& service, JobRequest request) {
  try {
    return service.jobs.submit(std::move(request));
  } catch (const EngineRejected& rejected) {
    throw error_of_rejection(rejected);
  } catch (const JobsFull& full) {
    throw with_retry_after(
        HttpError(429, "results_full",
                  "There is no room for more results until others were fetched: try again later."),
        full.retry_after_seconds);
  } catch (const JobKeyConflict&) {
    throw HttpError(409, "conflict", "The Idempotency-Key belongs to another request.");
  } catch (const std::invalid_argument& error) {
    throw HttpError(422, "invalid_request", error.what(), "sampler");
  }
}

HttpError error_of_job(const JobSnapshot& job) {
  if (job.error) return error_of_failure(job.error->code);
  return {409, "cancelled", "The job was cancelled."};
}

}  // namespace ddpm
