#include "ddpm/serving/api/job_json.h"

#include <nlohmann/json.hpp>

#include <algorithm>
#include <cstdio>
#include <ctime>
#include <stdexcept>
#include <utility>

#include "ddpm/serving/api/image_encoding.h"
#include "ddpm/serving/api/submit_job.h"

namespace ddpm {
namespace {

using nlohmann::json;

json time_json(const std::optional<JobClock::time_point>& time) {
  return time ? json(time_text(*time)) : json(nullptr);
}

json image_json(const JobSnapshot& job, int64_t image, const json& shape) {
  const JobImage& encoded = *job.images.at(image);
  const std::string name = std::to_string(image) + "." + extension_of(encoded.media_type);
  return {{"url", job_path(job.id, "/images/" + name)},
          {"seed", job.request.engine.seed},
          {"index", image},
          {"width", shape.at(2)},
          {"height", shape.at(1)},
          {"media_type", encoded.media_type}};
}

json images_json(const JobSnapshot& job, const json& shape) {
  json images = json::array();
  for (const auto& [number, image] : job.images) images.push_back(image_json(job, number, shape));
  return images;
}

json trace_json(const JobSnapshot& job) {
  json times = json::array();
  for (const auto& frame : job.trace) times.push_back(frame->t);
  return {{"frames", job.trace.size()}, {"t", std::move(times)}};
}

}  // namespace

const char* job_state_word(JobState state) {
  switch (state) {
    case JobState::kQueued:
      return "queued";
    case JobState::kRunning:
      return "running";
    case JobState::kSucceeded:
      return "succeeded";
    case JobState::kFailed:
      return "failed";
    case JobState::kCancelled:
      return "cancelled";
  }
  throw std::logic_error("[job_state_word] not a JobState");
}

std::string time_text(JobClock::time_point time) {
  const auto since_epoch = std::chrono::floor<std::chrono::milliseconds>(time.time_since_epoch());
  const auto whole = std::chrono::floor<std::chrono::seconds>(since_epoch);
  const auto seconds = static_cast<std::time_t>(whole.count());
  std::tm parts{};
  gmtime_r(&seconds, &parts);
  char day[32];
  std::strftime(day, sizeof day, "%Y-%m-%dT%H:%M:%S", &parts);
  char text[48];
  std::snprintf(text, sizeof text, "%s.%03dZ", day,
                static_cast<int>((since_epoch - whole).count()));
  return text;
}

std::string job_path(const JobId& id, const std::string& rest) { return "/v1/jobs/" + id + rest; }

json progress_json(const JobSnapshot& job, const JobProgress& progress) {
  const int64_t images = std::max<int64_t>(progress.num_images, 1);
  const int64_t steps =
      progress.num_steps > 0 ? progress.num_steps / images : job.request.engine.sampler.steps;
  return {{"step", progress.steps_done / images},
          {"steps", steps},
          {"images_done", progress.images_done},
          {"images", progress.num_images}};
}

json image_json(const JobSnapshot& job, int64_t image) {
  return image_json(job, image, json::parse(job.request.text).at("image_shape"));
}

json job_error_json(const JobSnapshot& job) {
  if (!job.error) return nullptr;
  const HttpError error = error_of_job(job);
  return {{"code", error.code},
          {"message", error.what()},
          {"field", error.field.empty() ? json(nullptr) : json(error.field)}};
}

json job_json(const JobSnapshot& job) {
  const json resolved = json::parse(job.request.text);
  const bool waits = job.state == JobState::kQueued;
  return {{"id", job.id},
          {"state", job_state_word(job.state)},
          {"model", job.request.engine.model},
          {"model_hash", resolved.at("model_hash")},
          {"created_at", time_text(job.created)},
          {"started_at", time_json(job.started)},
          {"finished_at", time_json(job.finished)},
          {"position", waits ? json(job.position) : json(nullptr)},
          {"progress", progress_json(job, job.progress)},
          {"request", resolved.at("request")},
          {"images", images_json(job, resolved.at("image_shape"))},
          {"trace", trace_json(job)},
          {"error", job_error_json(job)},
          {"links",
           {{"self", job_path(job.id)},
            {"events", job_path(job.id, "/events")},
            {"cancel", job_path(job.id)}}}};
}

}  // namespace ddpm
