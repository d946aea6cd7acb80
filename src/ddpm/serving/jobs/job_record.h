#pragma once

#include <string>

#include "ddpm/serving/jobs/job.h"

namespace ddpm {

/// A job as JSON text, all of it but its images, its position and its deadline's clock: a deadline
/// is written as a time of day.
///
/// @param now what the time is by both clocks.
std::string job_record(const JobSnapshot& job, JobClock::time_point now);

/// The job of a record.
///
/// @throws std::runtime_error if the text is no such record.
JobSnapshot parse_job_record(const std::string& text, JobClock::time_point now);

}  // namespace ddpm
