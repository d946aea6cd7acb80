#include "ddpm/serving/engine/engine_report.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "ddpm/sampling/sampler.h"
#include "ddpm/serving/engine/engine_lane.h"

namespace ddpm {
namespace {

/// On a GPU it only begins: the values are there after what the current stream does next.
Tensor begin_copy(const Tensor& values) {
  if (values.is_cpu()) return values;
  const Tensor copy =
      at::empty(values.sizes(), values.options().device(at::kCPU).pinned_memory(true));
  return copy.copy_(values, /*non_blocking=*/true);
}

/// One copy, and no kernel to gather what lies between rows that nobody wants.
CopiedRows copy_rows(const Tensor& batch, const std::vector<int64_t>& wanted) {
  if (wanted.empty()) return {};
  const int64_t first = wanted.front();
  return {.rows = wanted,
          .values = begin_copy(batch.narrow(/*dim=*/0, first, wanted.back() - first + 1))};
}

/// A tensor of its own; undefined if the row is not among these.
Tensor row_of(const CopiedRows& copied, std::size_t row) {
  const auto found = std::find(copied.rows.begin(), copied.rows.end(), static_cast<int64_t>(row));
  if (found == copied.rows.end()) return {};
  return copied.values.select(/*dim=*/0, *found - copied.rows.front()).clone();
}

/// Indices of the rows for which `holds`.
template <typename Condition>
std::vector<int64_t> rows_where(const std::vector<BatchRow>& rows, const Condition& holds) {
  std::vector<int64_t> found;
  for (std::size_t i = 0; i < rows.size(); ++i) {
    if (holds(rows[i])) found.push_back(static_cast<int64_t>(i));
  }
  return found;
}

void tell_trace(const LaneCall& call, std::size_t row) {
  OpenRequest& request = *call.rows[row].request;
  const ImageInFlight& image = *call.rows[row].image;
  if (!request.events.trace || !is_frame_due(request, image)) return;
  const auto of_row = [row](const Tensor& batch) {
    return batch.select(/*dim=*/0, static_cast<int64_t>(row));
  };
  const SampleTrace trace = trace_of_call(request.plan->calls[image.position], image.steps,
                                          of_row(call.before.x), of_row(call.result.pred_x_start));
  tell("trace", [&] {
    request.events.trace({.ticket = request.ticket,
                          .image = image.image,
                          .frame = request.next_frame,
                          .step = trace.step,
                          .t = trace.t,
                          .x_t = trace.x_t.cpu().clone(),
                          .eps = trace.eps().cpu(),
                          .pred_x_start = trace.pred_x_start.cpu().clone()});
  });
  ++request.next_frame;
}

bool is_drawn(const BatchRow& row) {
  return row.image->position == row.request->plan->calls.size();
}

/// The largest magnitude of each row, not finite if a value of it is not; undefined where nobody
/// needs to know now.
Tensor largest_magnitudes(EngineLane& lane, const LaneCall& call, const EngineOptions& options) {
  const bool is_due = lane.model->device.is_cpu() ||
                      ++lane.calls_unchecked >= static_cast<uint64_t>(options.finite_check_every) ||
                      !rows_where(call.rows, is_drawn).empty();
  if (!is_due) return {};
  lane.calls_unchecked = 0;
  constexpr double kLargest = std::numeric_limits<double>::infinity();  // the norm of that order
  return begin_copy(at::linalg_vector_norm(call.result.state.x.flatten(1), kLargest, /*dim=*/1));
}

bool is_preview_due(const BatchRow& row, const EngineOptions& options,
                    EngineClock::time_point now) {
  const ImageInFlight& image = *row.image;
  return row.request->request.wants_previews && image.begins_step && !is_drawn(row) &&
         image.steps - image.preview_step >= options.preview_every &&
         now - image.preview_time >= options.preview_interval;
}

CopiedRows take_previews(const LaneCall& call, const EngineOptions& options,
                         EngineClock::time_point now) {
  const std::vector<int64_t> due =
      rows_where(call.rows, [&](const BatchRow& row) { return is_preview_due(row, options, now); });
  for (const int64_t i : due) {
    ImageInFlight& image = *call.rows[static_cast<std::size_t>(i)].image;
    image.preview_step = image.steps;
    image.preview_time = now;
  }
  return copy_rows(call.result.pred_x_start, due);
}

ReportedRow reported(const BatchRow& row) {
  const ImageInFlight& image = *row.image;
  return {.ticket = row.request->ticket,
          .image = image.image,
          .steps = image.steps,
          .t = row.request->plan->calls[image.position - 1].level.t,
          .ends_step = image.begins_step,
          .is_drawn = is_drawn(row)};
}

/// Their states lie in the call's result, so others may take their slots.
void take_drawn_images(EngineLane& lane, OpenRequest& request) {
  const auto first = std::stable_partition(
      request.in_flight.begin(), request.in_flight.end(),
      [&](const ImageInFlight& image) { return image.position < request.plan->calls.size(); });
  for (auto image = first; image != request.in_flight.end(); ++image) {
    lane.slots.give_back(image->slot);
    request.drawn.push_back(*image);
  }
  request.in_flight.erase(first, request.in_flight.end());
}

/// Null if it has ended.
OpenRequest* open_request(const EngineLane& lane, EngineTicket ticket) {
  for (const auto& request : lane.running) {
    if (request->ticket == ticket) return request->outcome ? nullptr : request.get();
  }
  return nullptr;
}

auto find_image(std::vector<ImageInFlight>& images, int64_t number) {
  return std::find_if(images.begin(), images.end(),
                      [number](const ImageInFlight& image) { return image.image == number; });
}

bool is_open(OpenRequest& request, int64_t number) {
  return find_image(request.in_flight, number) != request.in_flight.end() ||
         find_image(request.drawn, number) != request.drawn.end();
}

/// Ends an image that is_open().
void take_out(EngineLane& lane, OpenRequest& request, int64_t number) {
  const auto found = find_image(request.in_flight, number);
  if (found == request.in_flight.end()) {
    request.drawn.erase(find_image(request.drawn, number));
    return;
  }
  lane.slots.give_back(found->slot);
  request.in_flight.erase(found);
}

void tell_progress(const OpenRequest& request, const ReportedRow& row, const Tensor& preview) {
  if (!row.ends_step || !request.events.progress) return;
  tell("progress", [&] {
    request.events.progress({.ticket = request.ticket,
                             .image = row.image,
                             .step = row.steps,
                             .num_steps = request.num_steps,
                             .t = row.t,
                             .pred_x_start = preview});
  });
}

void tell_image(OpenRequest& request, int64_t number, bool is_finite, const Tensor& x,
                EngineStats& stats) {
  ++request.num_ended;
  if (!is_finite) ++request.num_non_finite;
  ++(is_finite ? stats.images_done : stats.images_non_finite);
  if (!request.events.image) return;
  tell("image", [&] {
    request.events.image({.ticket = request.ticket,
                          .image = number,
                          .is_finite = is_finite,
                          .x = is_finite ? x : Tensor()});
  });
}

void tell_row(EngineLane& lane, const CallReport& report, std::size_t i, EngineStats& stats) {
  const ReportedRow& row = report.rows[i];
  OpenRequest* const request = open_request(lane, row.ticket);
  if (request == nullptr || !is_open(*request, row.image)) return;
  const bool is_finite =
      !report.magnitudes.defined() || std::isfinite(report.magnitudes.const_data_ptr<float>()[i]);
  if (is_finite) tell_progress(*request, row, row_of(report.previews, i));
  if (is_finite && !row.is_drawn) return;
  take_out(lane, *request, row.image);
  tell_image(*request, row.image, is_finite, row_of(report.images, i), stats);
}

}  // namespace

CallReport begin_report(EngineLane& lane, const LaneCall& call, const EngineOptions& options,
                        EngineClock::time_point now) {
  for (std::size_t i = 0; i < call.rows.size(); ++i) tell_trace(call, i);
  for (const auto& [request, image] : call.rows) {
    take_call(*image, request->plan->calls[image->position]);
  }
  CallReport report{.magnitudes = largest_magnitudes(lane, call, options),
                    .previews = take_previews(call, options, now),
                    .images = copy_rows(call.result.state.x, rows_where(call.rows, is_drawn))};
  for (const BatchRow& row : call.rows) report.rows.push_back(reported(row));
  for (const BatchRow& row : call.rows) take_drawn_images(lane, *row.request);
  return report;
}

void finish_report(EngineLane& lane, const CallReport& report, EngineStats& stats) {
  for (std::size_t i = 0; i < report.rows.size(); ++i) tell_row(lane, report, i, stats);
  for (const ReportedRow& row : report.rows) {
    OpenRequest* const request = open_request(lane, row.ticket);
    if (request == nullptr || request->num_ended < request->request.num_images) continue;
    end_request(lane, *request,
                request->num_non_finite == 0 ? RequestOutcome::kDone : RequestOutcome::kNonFinite);
  }
}

}  // namespace ddpm
