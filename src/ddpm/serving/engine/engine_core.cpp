#include "ddpm/serving/engine/engine_core.h"

#include <algorithm>
#include <limits>
#include <tuple>
#include <utility>

#include "ddpm/core/log.h"

namespace ddpm {
namespace {

bool comes_before(const std::unique_ptr<OpenRequest>& a, const std::unique_ptr<OpenRequest>& b) {
  return std::tie(a->rank, a->ticket) < std::tie(b->rank, b->ticket);
}

/// The smallest service of a running request.
double least_service(const EngineLane& lane) {
  double least = std::numeric_limits<double>::infinity();
  for (const auto& request : lane.running) least = std::min(least, request->service);
  return least;
}

template <typename Visitor>
void visit_requests(EngineLane& lane, const Visitor& visit) {
  for (const auto& request : lane.waiting) visit(*request);
  for (const auto& request : lane.running) visit(*request);
}

int64_t calls_left(const OpenRequest& request) {
  const auto all = static_cast<int64_t>(request.plan->calls.size());
  int64_t calls = (request.request.num_images - request.next_image) * all;
  for (const ImageInFlight& image : request.in_flight) {
    calls += all - static_cast<int64_t>(image.position);
  }
  return calls;
}

}  // namespace

EngineCore::EngineCore(const EngineOptions& options, ModelPool& pool, PaceClock clock)
    : options_(options), pool_(pool), pace_(std::move(clock)) {}

EngineLane& EngineCore::lane_of(const std::shared_ptr<const EngineModel>& model) {
  for (const auto& lane : lanes_) {
    if (lane->model == model) return *lane;
  }
  return *lanes_.emplace_back(std::make_unique<EngineLane>(model, options_));
}

void EngineCore::accept(std::unique_ptr<OpenRequest> request) {
  open_[request->ticket] = request.get();
  if (request->request.deadline) {
    next_deadline_ = std::min(next_deadline_, *request->request.deadline);
  }
  auto& waiting = lane_of(request->model).waiting;
  const auto place = std::upper_bound(waiting.begin(), waiting.end(), request, comes_before);
  waiting.insert(place, std::move(request));
}

void EngineCore::cancel(EngineTicket ticket) {
  const auto found = open_.find(ticket);
  if (found == open_.end()) return;
  found->second->is_cancelled = true;
  has_cancelled_ = true;
}

void EngineCore::end_late(EngineClock::time_point now) {
  if (!has_cancelled_ && now < next_deadline_) return;
  has_cancelled_ = false;
  next_deadline_ = EngineClock::time_point::max();
  for (const auto& lane : lanes_) {
    visit_requests(*lane, [&](OpenRequest& request) {
      const auto& deadline = request.request.deadline;
      if (request.is_cancelled) {
        end_request(*lane, request, RequestOutcome::kCancelled);
      } else if (deadline && *deadline <= now) {
        end_request(*lane, request, RequestOutcome::kTimedOut);
      } else if (deadline) {
        next_deadline_ = std::min(next_deadline_, *deadline);
      }
    });
  }
  tell_ends();
}

void EngineCore::find_network(EngineLane& lane, EngineClock::time_point now) {
  FoundModel found = pool_.find(lane.model);
  const OpenRequest& first = *lane.waiting.front();
  switch (found.state) {
    case ModelState::kReady:
      lane.network = std::move(found.network);
      return;
    case ModelState::kLoading:
      return;
    case ModelState::kNoRoom:
      if (now - first.arrival >= options_.model_patience) {
        last_rank_ = std::min(last_rank_, first.rank);
      }
      return;
    case ModelState::kFailed:
      log_error("[engine] model " + lane.model->id + " can't be read: " + found.message);
      for (const auto& request : lane.waiting) {
        end_request(lane, *request, RequestOutcome::kFailed, found.message);
      }
      tell_ends(lane.waiting);
      return;
  }
}

void EngineCore::find_networks(EngineClock::time_point now) {
  last_rank_ = EngineClock::time_point::max();
  std::vector<EngineLane*> in_need;
  for (const auto& lane : lanes_) {
    if (lane->network == nullptr && !lane->waiting.empty()) in_need.push_back(lane.get());
  }
  std::sort(in_need.begin(), in_need.end(), [](const EngineLane* a, const EngineLane* b) {
    return comes_before(a->waiting.front(), b->waiting.front());
  });
  for (EngineLane* const lane : in_need) find_network(*lane, now);
}

void EngineCore::begin_requests(EngineLane& lane) {
  double service = std::numeric_limits<double>::infinity();
  for (const auto& other : lanes_) service = std::min(service, least_service(*other));
  if (service == std::numeric_limits<double>::infinity()) service = 0;
  auto next = lane.waiting.begin();
  while (next != lane.waiting.end() && (*next)->rank <= last_rank_ &&
         static_cast<int64_t>(lane.running.size()) < lane.slots.capacity()) {
    (*next)->service = service;
    lane.running.push_back(std::move(*next));
    ++next;
  }
  lane.waiting.erase(lane.waiting.begin(), next);
}

EngineLane* EngineCore::next_lane() const {
  EngineLane* next = nullptr;
  double least = std::numeric_limits<double>::infinity();
  for (const auto& lane : lanes_) {
    const double service = least_service(*lane);
    if (service >= least) continue;
    least = service;
    next = lane.get();
  }
  return next;
}

void EngineCore::tell_ends(Requests& requests) {
  std::erase_if(requests, [this](const std::unique_ptr<OpenRequest>& request) {
    if (!request->outcome) return false;
    ++stats_.ended.at(static_cast<std::size_t>(*request->outcome));
    open_.erase(request->ticket);
    tell("end", [&] {
      if (!request->events.end) return;
      request->events.end(
          {.ticket = request->ticket, .outcome = *request->outcome, .message = request->message});
    });
    return true;
  });
}

void EngineCore::tell_ends() {
  for (const auto& lane : lanes_) {
    tell_ends(lane->waiting);
    tell_ends(lane->running);
  }
}

void EngineCore::drop_idle_lanes() {
  for (const auto& lane : lanes_) {  // a network that no request may use now can make room
    const bool is_held_back = !lane->waiting.empty() && lane->waiting.front()->rank > last_rank_;
    if (lane->running.empty() && is_held_back) lane->network.reset();
  }
  std::erase_if(lanes_, [](const std::unique_ptr<EngineLane>& lane) {
    return lane->running.empty() && lane->waiting.empty();
  });
}

bool EngineCore::tick(EngineClock::time_point now) {
  end_late(now);
  find_networks(now);
  for (const auto& lane : lanes_) {
    if (lane->network != nullptr) begin_requests(*lane);
  }
  EngineLane* const lane = next_lane();
  const bool works = lane != nullptr && run_lane(*lane, options_, now, pace_, stats_);
  if (works) tell_ends(lane->running);
  drop_idle_lanes();
  return works;
}

std::optional<EngineClock::time_point> EngineCore::next_tick() const {
  const EngineLane* const lane = next_lane();
  return lane != nullptr && has_room(*lane) ? pace_.next_call() : std::nullopt;
}

void EngineCore::stop() {
  for (const auto& lane : lanes_) {
    tell_untold(*lane, pace_, stats_);
    visit_requests(*lane, [&](OpenRequest& request) {
      if (!request.outcome) end_request(*lane, request, RequestOutcome::kStopped);
    });
  }
  tell_ends();
  drop_idle_lanes();
}

EngineStats EngineCore::stats() const {
  EngineStats stats = stats_;
  stats.open_requests = static_cast<int64_t>(open_.size());
  for (const auto& lane : lanes_) {
    stats.running_requests += static_cast<int64_t>(lane->running.size());
    stats.state_bytes += lane->slots.size_bytes();
    stats.in_flight_images += lane->slots.capacity() - lane->slots.num_free();
    visit_requests(*lane, [&](const OpenRequest& request) {
      stats.open_images += request.request.num_images - request.num_ended;
      stats.open_calls += calls_left(request);
    });
  }
  stats.models = pool_.stats();
  return stats;
}

}  // namespace ddpm
