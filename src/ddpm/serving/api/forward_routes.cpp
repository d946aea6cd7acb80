#include "ddpm/serving/api/forward_routes.h"

#include <ATen/ATen.h>
#include <nlohmann/json.hpp>

#include <cmath>
#include <string>
#include <utility>
#include <vector>

#include "ddpm/data/image_tensor.h"
#include "ddpm/diffusion/forward_frames.h"
#include "ddpm/serving/api/form.h"
#include "ddpm/serving/api/forward_fields.h"
#include "ddpm/serving/api/image_encoding.h"
#include "ddpm/serving/api/upload_route.h"
#include "ddpm/serving/api/uploaded_image.h"

namespace ddpm {
namespace {

using nlohmann::json;

constexpr double kShownLimit = 1.5;  // noise leaves [-1, 1]: noisy pictures show [-1.5, 1.5]

NoiseSchedule forward_schedule(const ForwardFields& fields) {
  if (fields.diffusion.schedule == ScheduleKind::kCustom) {
    refuse_form("schedule", "[schedule] expected one that is computed, got custom");
  }
  try {
    return make_noise_schedule(fields.diffusion);
  } catch (const std::invalid_argument& error) {
    refuse_form("schedule", error.what());
  }
}

std::vector<int64_t> forward_timesteps(const ForwardFields& fields) {
  const int64_t num_timesteps = fields.diffusion.num_timesteps;
  if (fields.t.empty()) {
    if (fields.levels > num_timesteps + 1) {
      refuse_form("levels", "[levels] expected 2 to " + std::to_string(num_timesteps + 1) +
                                ", got " + std::to_string(fields.levels));
    }
    return even_timesteps(fields.levels, num_timesteps);
  }
  if (fields.t.size() > kMaxForwardFrames) {
    refuse_form("t", "[t] expected at most " + std::to_string(kMaxForwardFrames) +
                         " timesteps, got " + std::to_string(fields.t.size()));
  }
  for (const int64_t t : fields.t) {
    if (t < num_timesteps) continue;
    refuse_form("t", "[t] expected -1, the image, to " + std::to_string(num_timesteps - 1) +
                         ", got " + std::to_string(t));
  }
  return fields.t;
}

json histogram_json(const Tensor& x) {
  const Tensor counts = pixel_histogram(x).to(at::kLong).contiguous();
  const auto* const begin = counts.const_data_ptr<int64_t>();
  return std::vector<int64_t>(begin, begin + counts.numel());
}

json frame_json(const ForwardFrame& frame) {
  const Tensor shown = frame.t < 0 ? frame.x_t[0] : frame.x_t[0] / kShownLimit;
  json snr_db;  // JSON has no infinity: null for the image, which has no noise
  if (frame.snr > 0 && std::isfinite(frame.snr)) snr_db = 10 * std::log10(frame.snr);
  return {{"t", frame.t},
          {"alpha_bar", frame.alpha_bar},
          {"snr_db", snr_db},
          {"shown_limit", frame.t < 0 ? 1.0 : kShownLimit},
          {"image", png_data_url(shown)},
          {"histogram", histogram_json(frame.x_t)}};
}

HttpResponse forward(const HttpRequest& request) {
  Form form = parse_form(request);
  const uint64_t seed = form_seed(form.take("seed"));
  ForwardFields fields;
  assign_form(list_fields(fields), form);
  const NoiseSchedule schedule = forward_schedule(fields);
  const std::vector<int64_t> timesteps = forward_timesteps(fields);
  const Image square = square_of_upload(form, "image", fields.size, fields.fit);
  json frames = json::array();
  for (const ForwardFrame& frame :
       forward_frames(schedule, image_to_tensor(square).unsqueeze(0), timesteps, seed)) {
    frames.push_back(frame_json(frame));
  }
  const json answer{
      {"schedule", enum_word(fields.diffusion.schedule)},
      {"num_timesteps", fields.diffusion.num_timesteps},
      {"seed", seed},
      {"size", fields.size},
      {"channels", square.channels},
      {"histogram",
       {{"bins", kHistogramBins}, {"min", -kHistogramLimit}, {"max", kHistogramLimit}}},
      {"frames", std::move(frames)}};
  return json_response(200, answer.dump());
}

}  // namespace

void add_forward_routes(HttpRouter& router) {
  add_upload_route(router, "/v1/forward", make_upload_thread(),
                   [](const std::shared_ptr<const HttpRequest>& request,
                      const HttpResponder& responder) { responder.send(forward(*request)); });
}

}  // namespace ddpm
