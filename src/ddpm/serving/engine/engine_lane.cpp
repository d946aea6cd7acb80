#include "ddpm/serving/engine/engine_lane.h"

#include <c10/core/GradMode.h>
#include <c10/util/Exception.h>

#include <algorithm>
#include <chrono>
#include <exception>
#include <utility>

#include "ddpm/core/log.h"
#include "ddpm/serving/engine/engine_batch.h"
#include "ddpm/serving/engine/engine_guesses.h"
#include "ddpm/serving/engine/engine_report.h"
#include "ddpm/serving/engine/scheduler.h"

namespace ddpm {
namespace {

constexpr int64_t kReservedPart = 4;  // a quarter of the slots is for first images
constexpr int64_t kRowsOfGuided = 2;
constexpr double kSecondsSmoothing = 0.1;  // of seconds_per_call

int64_t slot_capacity(const EngineModel& model, const EngineOptions& options) {
  const int64_t by_bytes =
      options.max_state_bytes / max_slot_bytes(model.image_shape, guesses_an_image(model));
  return std::clamp(by_bytes, int64_t{1}, options.max_in_flight);
}

int64_t rows_at(const OpenRequest& request, std::size_t position) {
  return is_guided(request, request.plan->calls[position]) ? 2 : 1;
}

std::vector<Contender> contenders_of(const EngineLane& lane) {
  std::vector<Contender> contenders;
  for (const auto& request : lane.running) {
    Contender contender{.service = request->service,
                        .weight = weight_of(*request),
                        .order = request->ticket,
                        .num_waiting = request->request.num_images - request->next_image,
                        .rows_of_waiting = rows_at(*request, 0)};
    for (const ImageInFlight& image : request->in_flight) {
      contender.in_flight.push_back(rows_at(*request, image.position));
    }
    contenders.push_back(std::move(contender));
  }
  return contenders;
}

std::vector<Pick> picks_of(const EngineLane& lane, const EngineOptions& options) {
  const int64_t reserved = lane.slots.capacity() / kReservedPart;
  return pick_batch(contenders_of(lane), {.max_rows = lane.max_rows,
                                          .free_slots = lane.slots.num_free(),
                                          .reserved_slots = reserved,
                                          .sizes = options.batch_sizes});
}

/// Puts the picks' new images in flight: after this, each pick is of an image in flight.
void begin_images(EngineLane& lane, const std::vector<Pick>& picks) {
  std::vector<BatchImage> begun;
  std::vector<int64_t> slots;
  for (const Pick& pick : picks) {
    OpenRequest& request = *lane.running[pick.contender];
    if (pick.image < request.in_flight.size()) continue;
    if (request.next_image == 0) {
      tell("start", [&] {
        if (request.events.start) request.events.start(request.ticket);
      });
    }
    const int64_t slot = lane.slots.take();
    request.in_flight.push_back({.image = request.next_image++, .slot = slot});
    slots.push_back(slot);
    const auto image = static_cast<uint64_t>(request.in_flight.back().image);
    begun.push_back({.seed = request.request.seed, .number = request.request.first_image + image});
  }
  if (!begun.empty()) lane.slots.begin(slots, initial_noise(*lane.model, begun));
}

std::vector<BatchRow> rows_of(EngineLane& lane, const std::vector<Pick>& picks) {
  std::vector<BatchRow> rows;
  for (const Pick& pick : picks) {
    OpenRequest& request = *lane.running[pick.contender];
    rows.push_back({&request, &request.in_flight.at(pick.image)});
  }
  return rows;
}

/// Charges the picks to their requests.
void charge(EngineLane& lane, const std::vector<Pick>& picks) {
  for (const Pick& pick : picks) {
    OpenRequest& request = *lane.running[pick.contender];
    request.service += static_cast<double>(pick.rows) / weight_of(request);
  }
}

void fail_batch(EngineLane& lane, const std::vector<Pick>& picks, const std::string& message,
                EngineStats& stats) {
  ++stats.failed_calls;
  ++stats.failed_calls_in_row;
  log_error("[engine] model " + lane.model->id + ": its network failed: " + message);
  for (const Pick& pick : picks) {
    OpenRequest& request = *lane.running[pick.contender];
    if (!request.outcome) end_request(lane, request, RequestOutcome::kFailed, message);
  }
}

void count_call(std::size_t images, EngineClock::duration time, EngineStats& stats) {
  const double seconds = std::chrono::duration<double>(time).count();
  stats.failed_calls_in_row = 0;
  stats.batch_images.add(static_cast<double>(images));
  stats.step_seconds.add(seconds);
  const double each = seconds / static_cast<double>(images);
  const double weight = stats.seconds_per_call == 0 ? 1 : kSecondsSmoothing;
  stats.seconds_per_call += weight * (each - stats.seconds_per_call);
}

int64_t rows_of_picks(const std::vector<Pick>& picks) {
  int64_t rows = 0;
  for (const Pick& pick : picks) rows += pick.rows;
  return rows;
}

/// Whether a batch that found no memory may be tried again, with half as many rows.
bool halve_batches(EngineLane& lane, int64_t rows, EngineStats& stats) {
  if (rows <= kRowsOfGuided) return false;
  lane.max_rows = std::max(rows / 2, kRowsOfGuided);
  ++stats.out_of_memory;
  log_warn("[engine] model " + lane.model->id + ": out of memory with " + std::to_string(rows) +
           " rows, going on with " + std::to_string(lane.max_rows));
  return true;
}

}  // namespace

EngineLane::EngineLane(std::shared_ptr<const EngineModel> served, const EngineOptions& options)
    : model(std::move(served)),
      slots(model->image_shape, model->device, slot_capacity(*model, options),
            guesses_an_image(*model)),
      schedule(model->self_conditioning ? model->schedule.to(model->device) : NoiseSchedule()),
      max_rows(options.max_batch) {}

bool run_lane(EngineLane& lane, const EngineOptions& options, EngineClock::time_point now,
              CallPace& pace, EngineStats& stats) {
  const c10::NoGradGuard no_grad;
  const EngineClock::time_point began = EngineClock::now();
  const std::vector<Pick> picks = picks_of(lane, options);
  if (picks.empty()) {
    const bool was_untold = lane.untold.has_value();
    tell_untold(lane, pace, stats);
    return was_untold;
  }
  try {
    begin_images(lane, picks);
    const LaneCall call = call_network(lane, rows_of(lane, picks), options, stats);
    charge(lane, picks);
    CallReport report = begin_report(lane, call, options, now);
    report.began = began;
    report.copied = pace.launch({lane.model->id, call.num_rows}, lane.model->device);
    tell_untold(lane, pace, stats);
    lane.untold = std::move(report);
    if (!options.tells_late.value_or(!lane.model->device.is_cpu())) tell_untold(lane, pace, stats);
  } catch (const c10::OutOfMemoryError& error) {
    if (!halve_batches(lane, rows_of_picks(picks), stats)) {
      fail_batch(lane, picks, error.what(), stats);
    }
  } catch (const std::exception& error) {
    fail_batch(lane, picks, error.what(), stats);
  }
  return true;
}

bool has_room(const EngineLane& lane) {
  int64_t rows = 0;
  for (const auto* const requests : {&lane.waiting, &lane.running}) {
    for (const auto& request : *requests) {
      rows += (request->request.num_images - request->next_image) * rows_at(*request, 0);
      for (const ImageInFlight& image : request->in_flight) {
        rows += rows_at(*request, image.position);
      }
      if (rows >= lane.max_rows) return false;
    }
  }
  return rows > 0 && lane.slots.num_free() > 0;
}

void tell_untold(EngineLane& lane, CallPace& pace, EngineStats& stats) {
  if (!lane.untold) return;
  const CallReport report = *std::exchange(lane.untold, std::nullopt);
  if (report.copied != nullptr) pace.wait(*report.copied);
  finish_report(lane, report, stats);
  const EngineClock::time_point now = EngineClock::now();
  count_call(report.rows.size(), now - std::max(report.began, lane.told), stats);
  lane.told = now;
}

void end_request(EngineLane& lane, OpenRequest& request, RequestOutcome outcome,
                 const std::string& message) {
  for (const ImageInFlight& image : request.in_flight) lane.slots.give_back(image.slot);
  request.in_flight.clear();
  request.drawn.clear();
  request.outcome = outcome;
  request.message = message;
}

void tell(const std::string& what, const std::function<void()>& event) {
  try {
    event();
  } catch (const std::exception& error) {
    log_error("[engine] the event '" + what + "' threw: " + error.what());
  }
}

}  // namespace ddpm
