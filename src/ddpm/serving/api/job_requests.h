#pragma once

#include <string>

#include "ddpm/serving/api/service.h"
#include "ddpm/serving/http/http_message.h"
#include "ddpm/serving/jobs/job.h"

namespace ddpm {

/// The job that a POST asks for: its JSON body, and the Idempotency-Key of its head, which counts
/// among the requests of one API key.
///
/// @throws HttpError 400 for a bad body or header, else as parse_generation() does.
JobRequest job_request_of(const Service& service, const HttpRequest& request);

/// The job that a path's {id} names.
///
/// @throws HttpError 404 if there is none, or no longer.
JobSnapshot find_job(const Service& service, const HttpRequest& request);
HttpError no_such_job();

/// A whole number of a path, query or header: digits alone, at most `max`.
///
/// @throws HttpError with `status`, naming the field, where it is none.
uint64_t parse_count(const std::string& text, uint64_t max, const std::string& field, int status);

}  // namespace ddpm
