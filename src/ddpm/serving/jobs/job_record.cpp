#include "ddpm/serving/jobs/job_record.h"

#include <nlohmann/json.hpp>

#include <algorithm>
#include <array>
#include <chrono>
#include <stdexcept>
#include <string_view>

#include "ddpm/config/json_config.h"

namespace ddpm {
namespace {

using nlohmann::json;
using std::chrono::milliseconds;

constexpr std::array<std::string_view, 5> kStateWords{"queued", "running", "succeeded", "failed",
                                                      "cancelled"};
constexpr std::array<std::string_view, 6> kErrorWords{"non_finite", "timed_out", "engine",
                                                      "stopped",    "encoding",  "interrupted"};

template <typename Enum, std::size_t N>
json to_word(const std::array<std::string_view, N>& words, Enum value) {
  return words.at(static_cast<std::size_t>(value));
}

template <typename Enum, std::size_t N>
Enum from_word(const std::array<std::string_view, N>& words, const json& word) {
  const auto found = std::find(words.begin(), words.end(), word.get<std::string>());
  if (found == words.end()) throw std::runtime_error("a word that is not known");
  return static_cast<Enum>(found - words.begin());
}

int64_t milliseconds_of(JobClock::time_point time) {
  return std::chrono::duration_cast<milliseconds>(time.time_since_epoch()).count();
}

json to_time(const std::optional<JobClock::time_point>& time) {
  return time ? json(milliseconds_of(*time)) : json();
}

std::optional<JobClock::time_point> from_time(const json& time) {
  if (time.is_null()) return std::nullopt;
  return JobClock::time_point(milliseconds(time.get<int64_t>()));
}

json request_record(const EngineRequest& request, JobClock::time_point now) {
  json deadline;
  if (request.deadline) {
    const auto left =
        std::chrono::duration_cast<milliseconds>(*request.deadline - EngineClock::now());
    deadline = milliseconds_of(now) + left.count();
  }
  return {{"model", request.model},
          {"seed", request.seed},
          {"first_image", request.first_image},
          {"num_images", request.num_images},
          {"sampler", config_to_json(request.sampler)},
          {"class_labels", request.class_labels},
          {"guidance", config_to_json(request.guidance)},
          {"priority", request.priority},
          {"deadline", deadline},
          {"wants_previews", request.wants_previews},
          {"trace_frames", request.trace_frames}};
}

EngineRequest parse_request(const json& record, JobClock::time_point now) {
  EngineRequest request;
  record.at("model").get_to(request.model);
  record.at("seed").get_to(request.seed);
  record.at("first_image").get_to(request.first_image);
  record.at("num_images").get_to(request.num_images);
  request.sampler = config_from_json<SamplerOptions>(record.at("sampler"), "job");
  record.at("class_labels").get_to(request.class_labels);
  request.guidance = config_from_json<GuidanceOptions>(record.at("guidance"), "job");
  record.at("priority").get_to(request.priority);
  if (const auto deadline = from_time(record.at("deadline"))) {
    const auto left = std::chrono::duration_cast<EngineClock::duration>(*deadline - now);
    request.deadline = EngineClock::now() + left;
  }
  record.at("wants_previews").get_to(request.wants_previews);
  record.at("trace_frames").get_to(request.trace_frames);
  return request;
}

json error_record(const std::optional<JobError>& error) {
  if (!error) return {};
  return {{"code", to_word(kErrorWords, error->code)}, {"message", error->message}};
}

}  // namespace

std::string job_record(const JobSnapshot& job, JobClock::time_point now) {
  const JobRequest& request = job.request;
  const json record{{"id", job.id},
                    {"engine", request_record(request.engine, now)},
                    {"format", request.format},
                    {"idempotency_key", request.idempotency_key},
                    {"fingerprint", request.fingerprint},
                    {"text", request.text},
                    {"most_result_bytes", request.most_result_bytes},
                    {"state", to_word(kStateWords, job.state)},
                    {"steps_done", job.progress.steps_done},
                    {"num_steps", job.progress.num_steps},
                    {"images_done", job.progress.images_done},
                    {"restarts", job.restarts},
                    {"interruptions", job.interruptions},
                    {"created", milliseconds_of(job.created)},
                    {"started", to_time(job.started)},
                    {"finished", to_time(job.finished)},
                    {"error", error_record(job.error)}};
  // What an exception said may be in any encoding; what it meant is still worth keeping.
  return record.dump(/*indent=*/-1, ' ', /*ensure_ascii=*/false, json::error_handler_t::replace);
}

JobSnapshot parse_job_record(const std::string& text, JobClock::time_point now) {
  try {
    const json record = json::parse(text);
    JobSnapshot job;
    record.at("id").get_to(job.id);
    job.request.engine = parse_request(record.at("engine"), now);
    record.at("format").get_to(job.request.format);
    record.at("idempotency_key").get_to(job.request.idempotency_key);
    record.at("fingerprint").get_to(job.request.fingerprint);
    record.at("text").get_to(job.request.text);
    job.request.most_result_bytes = record.value("most_result_bytes", int64_t{0});
    job.state = from_word<JobState>(kStateWords, record.at("state"));
    record.at("steps_done").get_to(job.progress.steps_done);
    record.at("num_steps").get_to(job.progress.num_steps);
    record.at("images_done").get_to(job.progress.images_done);
    job.progress.num_images = job.request.engine.num_images;
    record.at("restarts").get_to(job.restarts);
    record.at("interruptions").get_to(job.interruptions);
    job.created = from_time(record.at("created")).value();
    job.started = from_time(record.at("started"));
    job.finished = from_time(record.at("finished"));
    const json& error = record.at("error");
    if (!error.is_null()) {
      job.error = JobError{from_word<JobErrorCode>(kErrorWords, error.at("code")),
                           error.at("message").get<std::string>()};
    }
    return job;
  } catch (const std::exception& error) {
    throw std::runtime_error("[job_record] expected a job, got what can't be read: " +
                             std::string(error.what()));
  }
}

}  // namespace ddpm
