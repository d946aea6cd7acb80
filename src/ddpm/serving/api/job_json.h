#pragma once

#include <nlohmann/json_fwd.hpp>

#include <optional>
#include <string>

#include "ddpm/serving/jobs/job.h"

namespace ddpm {

/// A job as clients see it: docs/http_api.md, "Jobs".
nlohmann::json job_json(const JobSnapshot& job);

/// {"step","steps","images_done","images"}: steps of one image, as the mean over all.
nlohmann::json progress_json(const JobSnapshot& job, const JobProgress& progress);

/// {"url","seed","index","width","height","media_type"} of an image that is done.
nlohmann::json image_json(const JobSnapshot& job, int64_t image);

/// {"code","message","field"}, or null for a job that did not fail.
nlohmann::json job_error_json(const JobSnapshot& job);

/// queued, running, succeeded, failed or cancelled.
const char* job_state_word(JobState state);

/// "2026-11-27T05:49:52.123Z" [RFC 3339].
std::string time_text(JobClock::time_point time);

/// "/v1/jobs/ID", with `rest` behind it.
std::string job_path(const JobId& id, const std::string& rest = {});

}  // namespace ddpm
