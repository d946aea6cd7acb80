#pragma once

#include "ddpm/serving/api/service.h"
#include "ddpm/serving/http/http_message.h"
#include "ddpm/serving/jobs/job.h"

namespace ddpm {

/// Jobs::submit with what it throws as an answer for clients.
///
/// @throws HttpError 404 the model is gone, 409 another request had the idempotency key, 422 the
///         sampler's options contradict the model or each other, 429 the queue or the store
///         of results is full (with Retry-After), 503 the server stops (with Retry-After).
JobSnapshot submit_job(Service& service, JobRequest request);

/// How clients are told why a job that is over gave no images: code, one sentence, and the status
/// of an answer that waited for it.
///
/// @param job failed or cancelled.
HttpError error_of_job(const JobSnapshot& job);

}  // namespace ddpm
