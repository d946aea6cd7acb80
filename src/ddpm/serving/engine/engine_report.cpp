#include "ddpm/serving/engine/engine_report.h"

#include <ATen/ATen.h>

#include <map>

#include "ddpm/core/send_to_device.h"
#include "ddpm/sampling/sampler.h"
#include "ddpm/serving/engine/engine_lane.h"

namespace ddpm {
namespace {

/// Some rows of a batch on the CPU, by their index in it.
using RowsOnCpu = std::map<std::size_t, Tensor>;

/// One copy from the device for all of them.
RowsOnCpu copy_rows(const Tensor& batch, const std::vector<int64_t>& wanted) {
  RowsOnCpu rows;
  if (wanted.empty()) return rows;
  const Tensor index = send_to_device(at::tensor(wanted, at::kLong), batch.device());
  const Tensor copied = batch.index_select(/*dim=*/0, index).cpu();
  for (std::size_t i = 0; i < wanted.size(); ++i) {
    const Tensor row = copied.select(/*dim=*/0, static_cast<int64_t>(i));
    rows[static_cast<std::size_t>(wanted[i])] = wanted.size() == 1 ? row : row.clone();
  }
  return rows;
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
                          .eps = trace.eps.cpu(),
                          .pred_x_start = trace.pred_x_start.cpu().clone()});
  });
  ++request.next_frame;
}

bool is_finished(const BatchRow& row) {
  return row.image->position == row.request->plan->calls.size();
}

/// Whether each row is finite; where nobody needs to know now, a GPU is not waited for.
std::vector<bool> finite_rows(EngineLane& lane, const LaneCall& call,
                              const EngineOptions& options) {
  std::vector<bool> finite(call.rows.size(), true);
  const bool is_due = lane.model->device.is_cpu() ||
                      ++lane.calls_unchecked >= static_cast<uint64_t>(options.finite_check_every) ||
                      !rows_where(call.rows, is_finished).empty();
  if (!is_due) return finite;
  lane.calls_unchecked = 0;
  const Tensor flags = call.result.state.x.isfinite().flatten(1).all(/*dim=*/1).cpu();
  const bool* flag = flags.const_data_ptr<bool>();
  finite.assign(flag, flag + flags.numel());
  return finite;
}

bool is_preview_due(const BatchRow& row, const EngineOptions& options,
                    EngineClock::time_point now) {
  const ImageInFlight& image = *row.image;
  return row.request->request.wants_previews && image.begins_step && !is_finished(row) &&
         image.steps - image.preview_step >= options.preview_every &&
         now - image.preview_time >= options.preview_interval;
}

RowsOnCpu take_previews(const LaneCall& call, const EngineOptions& options,
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

void tell_progress(const BatchRow& row, const Tensor& preview) {
  const OpenRequest& request = *row.request;
  if (!row.image->begins_step || !request.events.progress) return;
  tell("progress", [&] {
    request.events.progress({.ticket = request.ticket,
                             .image = row.image->image,
                             .step = row.image->steps,
                             .num_steps = request.num_steps,
                             .t = request.plan->calls[row.image->position - 1].level.t,
                             .pred_x_start = preview});
  });
}

void end_image(const BatchRow& row, bool is_finite, const Tensor& x, EngineStats& stats) {
  OpenRequest& request = *row.request;
  row.image->has_ended = true;
  ++request.num_ended;
  if (!is_finite) ++request.num_non_finite;
  ++(is_finite ? stats.images_done : stats.images_non_finite);
  if (!request.events.image) return;
  tell("image", [&] {
    request.events.image({.ticket = request.ticket,
                          .image = row.image->image,
                          .is_finite = is_finite,
                          .x = is_finite ? x : Tensor()});
  });
}

void drop_ended_images(EngineLane& lane, OpenRequest& request) {
  std::erase_if(request.in_flight, [&](const ImageInFlight& image) {
    if (image.has_ended) lane.slots.give_back(image.slot);
    return image.has_ended;
  });
  if (request.outcome || request.num_ended < request.request.num_images) return;
  end_request(lane, request,
              request.num_non_finite == 0 ? RequestOutcome::kDone : RequestOutcome::kNonFinite);
}

Tensor row_of(const RowsOnCpu& rows, std::size_t i) {
  const auto found = rows.find(i);
  return found == rows.end() ? Tensor() : found->second;
}

}  // namespace

void report_call(EngineLane& lane, const LaneCall& call, const EngineOptions& options,
                 EngineClock::time_point now, EngineStats& stats) {
  for (std::size_t i = 0; i < call.rows.size(); ++i) tell_trace(call, i);
  for (const auto& [request, image] : call.rows) {
    take_call(*image, request->plan->calls[image->position]);
  }
  const std::vector<bool> finite = finite_rows(lane, call, options);
  const RowsOnCpu previews = take_previews(call, options, now);
  const RowsOnCpu finished = copy_rows(call.result.state.x, rows_where(call.rows, is_finished));
  for (std::size_t i = 0; i < call.rows.size(); ++i) {
    const BatchRow& row = call.rows[i];
    if (finite[i]) tell_progress(row, row_of(previews, i));
    if (!finite[i] || is_finished(row)) end_image(row, finite[i], row_of(finished, i), stats);
  }
  for (const BatchRow& row : call.rows) {
    if (!row.request->outcome) drop_ended_images(lane, *row.request);
  }
}

}  // namespace ddpm
