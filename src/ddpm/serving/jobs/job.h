#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "ddpm/core/tensor.h"
#include "ddpm/serving/engine/engine_request.h"

namespace ddpm {

/// 128 random bits in 26 digits of base32: nobody guesses another's job.
using JobId = std::string;
JobId random_job_id();

using JobClock = std::chrono::system_clock;

enum class JobState { kQueued, kRunning, kSucceeded, kFailed, kCancelled };
inline bool is_over(JobState state) {
  return state != JobState::kQueued && state != JobState::kRunning;
}

/// Why a job failed. Clients see the code; the message, which may name files, is for logs.
enum class JobErrorCode { kNonFinite, kTimedOut, kEngine, kStopped, kEncoding, kInterrupted };
struct JobError {
  JobErrorCode code = JobErrorCode::kEngine;
  std::string message = "";
};

/// What a client asks for.
struct JobRequest {
  EngineRequest engine = {};
  std::string format = "png";        ///< Of the results; what it means is the encoder's.
  std::string idempotency_key = "";  ///< Empty: none.
  std::string fingerprint = "";      ///< What requests of one key must agree in: the body.
  std::string text = "";             ///< The resolved request in the API's own words.
  int64_t most_result_bytes = 0;     ///< That its images and frames may take together.
};

/// An encoded image.
struct JobImage {
  std::string bytes;
  std::string media_type;
};

/// A moment of the first image's way, as pictures: bytes of PNG.
struct JobFrame {
  int64_t step = 0;
  double t = 0;
  std::string x_t, eps, pred_x_start;
};

/// How far a job is.
struct JobProgress {
  int64_t steps_done = 0;  ///< Of all images together.
  int64_t num_steps = 0;   ///< Of all images together; 0 until the first step.
  int64_t images_done = 0;
  int64_t num_images = 0;
};

/// A job as it stands; a copy that nothing changes.
struct JobSnapshot {
  JobId id;
  JobRequest request;
  JobState state = JobState::kQueued;
  JobProgress progress;
  int64_t position = 0;   ///< Jobs that are queued before it; 0 unless it is queued.
  int restarts = 0;       ///< Servers in a row that ended by no signal to stop while it was open.
  int interruptions = 0;  ///< How often one ended so while it was drawn.
  JobClock::time_point created = {};
  std::optional<JobClock::time_point> started = {};
  std::optional<JobClock::time_point> finished = {};
  std::optional<JobError> error = {};
  std::map<int64_t, std::shared_ptr<const JobImage>> images = {};  ///< Those that are done.
  std::vector<std::shared_ptr<const JobFrame>> trace = {};         ///< Noise first.
};

/// The job as it was when it was taken in, but for restarts and interruptions.
JobSnapshot begun_anew(const JobSnapshot& job);

/// Bytes of a job's images and frames.
int64_t result_bytes_of(const JobSnapshot& job);

/// Something that happened to a job, numbered 1, 2, .. in the job.
struct JobEvent {
  enum class Kind { kState, kProgress, kPreview, kImage, kTrace, kEnd };
  uint64_t number = 0;
  Kind kind = Kind::kState;
  JobState state = JobState::kQueued;  ///< The job's, when it happened.
  JobProgress progress = {};           ///< The job's, when it happened.
  int64_t position = 0;                ///< Of what JobWatcher tells of a job that waits.
  int64_t image = -1;                  ///< Of previews, images and traces.
  int64_t step = 0;                    ///< Of previews and traces.
  double t = 0;                        ///< Of previews and traces.
  Tensor pred_x_start = {};            ///< Of previews: [C, H, W] float32 on the CPU.
};

}  // namespace ddpm
