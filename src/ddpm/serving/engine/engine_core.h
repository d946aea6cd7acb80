#pragma once

#include <memory>
#include <optional>
#include <unordered_map>
#include <vector>

#include "ddpm/serving/engine/engine_lane.h"
#include "ddpm/serving/engine/model_pool.h"

namespace ddpm {

/// Step-level continuous batching, without threads: requests come in, each tick makes one network
/// call for images of one model, wherever these stand in their plans. New images join at the next
/// tick and finished ones leave.
///
/// Requests wait, by arrival and priority, until their model is in memory and has a slot for them;
/// then they run, and share the network calls fairly (scheduler.h). Of several models, the one with
/// the least served request has the tick. Where a waiting request's model finds no room for
/// model_patience, no later request begins, so that a model falls idle and makes room.
class EngineCore {
 public:
  /// @param clock of the pace of network calls.
  EngineCore(const EngineOptions& options, ModelPool& pool, PaceClock clock = {});

  void accept(std::unique_ptr<OpenRequest> request);
  /// Ends the request at the next tick, if it is open.
  void cancel(EngineTicket ticket);

  /// Ends what is cancelled or late, lets requests begin, and makes one network call.
  ///
  /// @return whether there was one to make.
  bool tick(EngineClock::time_point now);

  /// Until when the next tick may wait for requests to come that can join its network call: the
  /// device has work until then. Nothing if there is nothing to wait for.
  std::optional<EngineClock::time_point> next_tick() const;

  /// Ends every request.
  void stop();

  bool is_idle() const { return open_.empty(); }
  /// No request's deadline is before this.
  EngineClock::time_point next_deadline() const { return next_deadline_; }
  /// Of the core and its pool; plans and rejections are the engine's.
  EngineStats stats() const;

 private:
  using Requests = std::vector<std::unique_ptr<OpenRequest>>;

  EngineLane& lane_of(const std::shared_ptr<const EngineModel>& model);
  void end_late(EngineClock::time_point now);
  void find_networks(EngineClock::time_point now);
  void find_network(EngineLane& lane, EngineClock::time_point now);
  void begin_requests(EngineLane& lane);
  EngineLane* next_lane() const;
  void tell_ends();
  void tell_ends(Requests& requests);
  void drop_idle_lanes();

  const EngineOptions options_;
  ModelPool& pool_;
  CallPace pace_;
  std::vector<std::unique_ptr<EngineLane>> lanes_;
  std::unordered_map<EngineTicket, OpenRequest*> open_;
  EngineClock::time_point next_deadline_ = EngineClock::time_point::max();
  EngineClock::time_point last_rank_ = EngineClock::time_point::max();  ///< That may begin.
  bool has_cancelled_ = false;
  EngineStats stats_;
};

}  // namespace ddpm
