#include <exception>
#include <mutex>
#include <stdexcept>
#include <utility>

#include "ddpm/core/log.h"
#include "ddpm/serving/jobs/jobs.h"

// Jobs and what the engine gives: images, frames and ends, in the thread that encodes.
namespace ddpm {
namespace {

JobState state_of(RequestOutcome outcome) {
  switch (outcome) {
    case RequestOutcome::kDone:
      return JobState::kSucceeded;
    case RequestOutcome::kCancelled:
      return JobState::kCancelled;
    case RequestOutcome::kNonFinite:
    case RequestOutcome::kTimedOut:
    case RequestOutcome::kFailed:
    case RequestOutcome::kStopped:
      return JobState::kFailed;
  }
  throw std::logic_error("[state_of] not a RequestOutcome");
}

std::optional<JobError> error_of(const RequestEnd& end) {
  switch (end.outcome) {
    case RequestOutcome::kDone:
    case RequestOutcome::kCancelled:
      return std::nullopt;
    case RequestOutcome::kNonFinite:
      return JobError{JobErrorCode::kNonFinite, "the network's answers were not finite"};
    case RequestOutcome::kTimedOut:
      return JobError{JobErrorCode::kTimedOut, "the deadline passed"};
    case RequestOutcome::kFailed:
      return JobError{JobErrorCode::kEngine, end.message};
    case RequestOutcome::kStopped:
      return JobError{JobErrorCode::kStopped, "the server stopped"};
  }
  throw std::logic_error("[error_of] not a RequestOutcome");
}

}  // namespace

void Jobs::keep_image(const JobPtr& job, const ImageResult& result) {
  if (!result.is_finite) return;
  try {
    JobImage encoded = encoder_(job->shown.request, result.image, result.x);
    {
      const std::lock_guard lock(mutex_);
      table_.keep(*job, result.image, std::move(encoded));
      add_event(*job, {.kind = JobEvent::Kind::kImage, .image = result.image});
      table_.make_room(options_.max_jobs, options_.max_result_bytes);
    }
    store_image(job, result.image);
    store_erased();
  } catch (const std::exception& error) {
    log_error("[jobs] an image can't be encoded: " + std::string(error.what()));
    const std::lock_guard lock(mutex_);
    job->shown.error = JobError{JobErrorCode::kEncoding, error.what()};
  }
}

void Jobs::keep_frame(const JobPtr& job, const ImageTrace& trace) {
  try {
    JobFrame frame = options_.encode_frame(trace);
    const std::lock_guard lock(mutex_);
    table_.keep(*job, std::move(frame));
    add_event(
        *job,
        {.kind = JobEvent::Kind::kTrace, .image = trace.image, .step = trace.step, .t = trace.t});
    table_.make_room(options_.max_jobs, options_.max_result_bytes);
  } catch (const std::exception& error) {
    log_error("[jobs] a frame can't be encoded: " + std::string(error.what()));
  }
}

void Jobs::finish(const JobPtr& job, const RequestEnd& end) {
  {
    const std::lock_guard lock(mutex_);
    JobSnapshot& shown = job->shown;
    shown.state = state_of(end.outcome);
    if (const auto error = error_of(end)) shown.error = error;
    if (shown.state == JobState::kSucceeded && shown.error) shown.state = JobState::kFailed;
    shown.finished = options_.now();
    add_event(*job, {.kind = JobEvent::Kind::kEnd});
    positions_changed_ = true;
    tell_positions();
    table_.make_room(options_.max_jobs, options_.max_result_bytes);
  }
  store(job);
  store_erased();
}

}  // namespace ddpm
