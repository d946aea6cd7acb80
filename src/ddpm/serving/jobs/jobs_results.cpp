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
      make_room();
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
    make_room();
  } catch (const std::exception& error) {
    log_error("[jobs] a frame can't be encoded: " + std::string(error.what()));
  }
}

/// Who cancelled a job knows how it ended; others have a while to ask.
void Jobs::set_end(Job& job, JobState state) {
  const JobClock::time_point now = options_.now();
  job.shown.state = state;
  job.shown.finished = now;
  job.kept_until = state == JobState::kCancelled ? now : now + options_.first_look;
}

void Jobs::finish(const JobPtr& job, const RequestEnd& end) {
  {
    const std::lock_guard lock(mutex_);
    JobSnapshot& shown = job->shown;
    if (const auto error = error_of(end)) shown.error = error;
    const JobState state = state_of(end.outcome);
    const bool lacks_images = state == JobState::kSucceeded && shown.error;
    set_end(*job, lacks_images ? JobState::kFailed : state);
    add_event(*job, {.kind = JobEvent::Kind::kEnd});
    positions_changed_ = true;
    tell_positions();
    make_room();
  }
  store(job);
  store_erased();
}

}  // namespace ddpm
