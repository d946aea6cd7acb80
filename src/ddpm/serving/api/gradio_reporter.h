#pragma once

#include <nlohmann/json_fwd.hpp>

#include <chrono>
#include <map>
#include <optional>
#include <string>

#include "ddpm/serving/api/service.h"
#include "ddpm/serving/http/http_message.h"
#include "ddpm/serving/jobs/job.h"

namespace ddpm {

/// "http://" and what the client called us; empty if it didn't.
std::string gradio_address(const HttpRequest& request);

/// What the function gives for a job that succeeded: [gallery, info], full values.
///
/// A gallery is [{"image": FileData, "caption": class or null}], its files at /file=. The info is
/// the resolved request (docs/http_api.md) and the job's id.
///
/// @param address of gradio_address().
nlohmann::json gradio_outputs(const JobSnapshot& job, const std::string& address);

/// {"error","title","visible","duration"}: why a job gave no images. Python's client takes no other
/// members.
nlohmann::json gradio_error_json(const JobSnapshot& job);

/// Seconds that a job took.
double gradio_duration_s(const JobSnapshot& job);

/// A job's events as messages of Gradio's protocol, of one thread. Outputs are full values: of
/// those on the way, how a stream tells changes is its own matter.
class GradioReporter {
 public:
  GradioReporter(const Service& service, JobId id, std::string address)
      : service_(service), id_(std::move(id)), address_(std::move(address)) {}

  /// {"msg","event_id",..}; nothing for events that the protocol has no message for, and for
  /// previews that come too fast or do not fit.
  std::optional<nlohmann::json> message_of(const JobEvent& event);

 private:
  std::optional<nlohmann::json> previews_message(const JobEvent& event);
  nlohmann::json end_message() const;
  nlohmann::json message(const char* name) const;

  const Service& service_;
  const JobId id_;
  const std::string address_;
  std::map<int64_t, Tensor> previews_ = {};  ///< The newest of each image.
  std::optional<std::chrono::steady_clock::time_point> previews_told_ = {};
};

}  // namespace ddpm
