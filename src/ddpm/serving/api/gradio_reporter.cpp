#include "ddpm/serving/api/gradio_reporter.h"

#include <nlohmann/json.hpp>

#include <cstdio>
#include <stdexcept>
#include <utility>

#include "ddpm/serving/api/gradio_endpoint.h"
#include "ddpm/serving/api/image_encoding.h"
#include "ddpm/serving/api/job_json.h"
#include "ddpm/serving/api/submit_job.h"

namespace ddpm {
namespace {

using nlohmann::json;

constexpr std::chrono::milliseconds kPreviewInterval{100};
// Of one message. Larger pictures would fill a slow client's queue.
constexpr std::size_t kMaxPreviewBytes = std::size_t{96} << 10;
constexpr int kErrorSeconds = 10;

/// Without a "path": Python's client downloads whatever has one.
json preview_file(std::string data_url) {
  return {{"url", std::move(data_url)},
          {"mime_type", "image/png"},
          {"is_stream", false},
          {"meta", {{"_type", "gradio.FileData"}}}};
}

json file_of_image(const JobSnapshot& job, int64_t image, const std::string& address) {
  const JobImage& encoded = *job.images.at(image);
  const std::string name = std::to_string(image) + "." + extension_of(encoded.media_type);
  const std::string path = "img/" + job.id + "/" + name;
  return {{"path", path},
          {"url", address + kGradioPrefix + "/file=" + path},
          {"orig_name", name},
          {"mime_type", encoded.media_type},
          {"size", encoded.bytes.size()},
          {"is_stream", false},
          {"meta", {{"_type", "gradio.FileData"}}}};
}

std::string caption_at(double t) {
  char text[32];
  std::snprintf(text, sizeof text, "t=%.4g", t);
  return text;
}

}  // namespace

std::string gradio_address(const HttpRequest& request) {
  const std::string* const host = find_header(request.headers, "Host");
  return host == nullptr ? std::string() : "http://" + *host;
}

json gradio_outputs(const JobSnapshot& job, const std::string& address) {
  json info = json::parse(job.request.text).at("request");
  const json classes = info.value("class", json::array());
  json gallery = json::array();
  for (const auto& [number, encoded] : job.images) {
    const auto index = static_cast<std::size_t>(number);
    json caption = index < classes.size() ? classes.at(index) : json();
    gallery.push_back(
        {{"image", file_of_image(job, number, address)}, {"caption", std::move(caption)}});
  }
  info["id"] = job.id;
  return json::array({std::move(gallery), std::move(info)});
}

json gradio_error_json(const JobSnapshot& job) {
  return {{"error", error_of_job(job).what()},
          {"title", "Error"},
          {"visible", true},
          {"duration", kErrorSeconds}};
}

double gradio_duration_s(const JobSnapshot& job) {
  if (!job.started || !job.finished) return 0;
  return std::chrono::duration<double>(*job.finished - *job.started).count();
}

json GradioReporter::message(const char* name) const { return {{"msg", name}, {"event_id", id_}}; }

std::optional<json> GradioReporter::message_of(const JobEvent& event) {
  switch (event.kind) {
    case JobEvent::Kind::kState: {
      const bool waits = event.state == JobState::kQueued;
      json told = message(waits ? "estimation" : "process_starts");
      if (waits) {
        told.update(
            {{"rank", event.position}, {"queue_size", event.position + 1}, {"rank_eta", nullptr}});
      } else {
        told["eta"] = nullptr;
      }
      return told;
    }
    case JobEvent::Kind::kProgress: {
      const auto job = service_.jobs.find(id_);
      if (!job) return std::nullopt;
      const json progress = progress_json(*job, event.progress);
      json told = message("progress");
      told["progress_data"] = json::array({{{"index", progress.at("step")},
                                            {"length", progress.at("steps")},
                                            {"unit", "steps"},
                                            {"progress", nullptr},
                                            {"desc", "denoising"}}});
      return told;
    }
    case JobEvent::Kind::kPreview:
      return previews_message(event);
    case JobEvent::Kind::kImage:
    case JobEvent::Kind::kTrace:
      return std::nullopt;
    case JobEvent::Kind::kEnd:
      return end_message();
  }
  throw std::logic_error("[GradioReporter] not a kind of JobEvent");
}

std::optional<json> GradioReporter::previews_message(const JobEvent& event) {
  previews_[event.image] = event.pred_x_start;
  const auto now = std::chrono::steady_clock::now();
  if (previews_told_ && now - *previews_told_ < kPreviewInterval) return std::nullopt;
  json gallery = json::array();
  std::size_t size_bytes = 0;
  for (const auto& [image, pred_x_start] : previews_) {
    std::string url = png_data_url(pred_x_start);
    size_bytes += url.size();
    if (size_bytes > kMaxPreviewBytes) break;
    gallery.push_back({{"image", preview_file(std::move(url))}, {"caption", caption_at(event.t)}});
  }
  if (gallery.empty()) return std::nullopt;
  previews_told_ = now;
  json told = message("process_generating");
  told["success"] = true;
  told["output"] = {
      {"data", json::array({std::move(gallery), {{"t", event.t}, {"step", event.step}}})},
      {"is_generating", true}};
  return told;
}

json GradioReporter::end_message() const {
  json told = message("process_completed");
  const auto job = service_.jobs.find(id_);
  const bool failed = job && job->state == JobState::kFailed;
  told["success"] = !failed;
  if (failed) {
    told["output"] = gradio_error_json(*job);
  } else if (job && job->state == JobState::kSucceeded) {
    const double seconds = gradio_duration_s(*job);
    told["output"] = {{"data", gradio_outputs(*job, address_)},
                      {"is_generating", false},
                      {"duration", seconds},
                      {"average_duration", seconds}};
  } else {
    told["output"] = json::object();  // cancelled
  }
  return told;
}

}  // namespace ddpm
