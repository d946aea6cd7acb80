#pragma once

#include <memory>
#include <optional>
#include <vector>

#include "ddpm/serving/engine/call_pace.h"
#include "ddpm/serving/engine/engine_options.h"
#include "ddpm/serving/engine/engine_report.h"
#include "ddpm/serving/engine/engine_slots.h"
#include "ddpm/serving/engine/engine_stats.h"
#include "ddpm/serving/engine/image_in_flight.h"

namespace ddpm {

/// The requests of one model.
struct EngineLane {
  EngineLane(std::shared_ptr<const EngineModel> served, const EngineOptions& options);

  std::shared_ptr<const EngineModel> model;
  std::shared_ptr<const EngineNetwork> network = {};  ///< Null until it is ready.
  EngineSlots slots;
  NoiseSchedule schedule = {};  ///< On the model's device; empty unless it is self-conditioned.
  std::vector<std::unique_ptr<OpenRequest>> waiting = {};  ///< By rank, then ticket.
  std::vector<std::unique_ptr<OpenRequest>> running = {};  ///< At most one a slot.
  int64_t max_rows;  ///< Of a network call; falls where memory runs out.
  uint64_t calls_unchecked =
      0;  ///< Network calls since one whose images were checked to be finite.
  std::optional<CallReport> untold = {};  ///< Of the last call, where calls are told of late.
  EngineClock::time_point told = {};      ///< When the last one was told of.
};

/// Makes one network call for the lane's running requests, fairly (pick_batch), and tells their
/// events, or those of the call before (EngineOptions::tells_late). Ended requests are left in
/// `running` with their outcome set and no image in flight.
///
/// Where the network throws, the requests of its batch fail and the lane stays usable; where it
/// runs out of memory, the batch is taken back, and later ones are half as large.
///
/// @return false if no running request has an image to bring forward and all was told.
bool run_lane(EngineLane& lane, const EngineOptions& options, EngineClock::time_point now,
              CallPace& pace, EngineStats& stats);

/// Whether the lane has images to bring forward, and its next call has room for more.
bool has_room(const EngineLane& lane);

/// Tells what the last call has not been told of, once it has ended.
void tell_untold(EngineLane& lane, CallPace& pace, EngineStats& stats);

/// Sets a request's outcome and frees its slots.
void end_request(EngineLane& lane, OpenRequest& request, RequestOutcome outcome,
                 const std::string& message = "");

/// Calls an event if it is there; what it throws is logged.
void tell(const std::string& what, const std::function<void()>& event);

}  // namespace ddpm
