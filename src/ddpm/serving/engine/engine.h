#pragma once

#include <condition_variable>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <unordered_map>
#include <vector>

#include "ddpm/serving/engine/engine_admission.h"
#include "ddpm/serving/engine/engine_core.h"
#include "ddpm/serving/engine/engine_loader.h"
#include "ddpm/serving/engine/engine_loans.h"
#include "ddpm/serving/engine/engine_plans.h"
#include "ddpm/serving/engine/model_pool.h"

namespace ddpm {

/// Draws images for many requests at once: an EngineCore in a thread of its own, which alone
/// touches the device. Images are those of sample_images() for the same seeds, up to the rounding
/// that a batch's size and make-up force on convolutions.
///
/// Any thread may call. Events come on the engine's thread, each request's in order; `end` comes
/// once for each accepted request, at the latest when the engine is destroyed.
class Engine {
 public:
  using Models = std::vector<std::shared_ptr<const EngineModel>>;

  /// @param clock of the pace of network calls.
  /// @throws std::invalid_argument as check_engine_options and set_models do.
  Engine(const Models& models, const EngineOptions& options, PaceClock clock = {});
  /// Ends what is open as kStopped.
  ~Engine();
  Engine(const Engine&) = delete;
  Engine& operator=(const Engine&) = delete;

  /// Takes a request in.
  ///
  /// @throws std::invalid_argument if the request is wrong (check_request, make_sampler_plan).
  /// @throws EngineRejected        if the model is unknown, the engine drains, or its bounds on
  ///                               open images or plans are reached.
  EngineTicket submit(EngineRequest request, EngineEvents events);

  /// Ends a request at the next network call.
  ///
  /// @return whether it was open; it may still end otherwise.
  bool cancel(EngineTicket ticket);

  /// The models that requests may name from now on. A model that stays must be the same object;
  /// open requests keep theirs.
  ///
  /// @throws std::invalid_argument as check_engine_model does, or if two share an id.
  void set_models(const Models& models);

  /// The model of an id, or null.
  std::shared_ptr<const EngineModel> find_model(const std::string& id) const;

  /// The network of a model for another thread, for work that is no request, such as an edit. Each
  /// call waits until the engine's thread has made it, between two calls of its own; the weights
  /// stay in memory while a copy of the function lives. It must not be called after the engine.
  ///
  /// @param model that the engine has now. Calls throw as EngineLoans::call does.
  EngineNetwork lend_network(std::shared_ptr<const EngineModel> model);

  /// As of a moment ago: at most kStatsInterval while the engine works.
  EngineStats stats() const;

  /// Takes nothing more in, and waits until all is done or the deadline passes; then ends what is
  /// open as kStopped.
  ///
  /// @return whether all was done.
  bool drain(EngineClock::time_point deadline);

 private:
  /// What the engine's thread has not seen yet.
  struct Mail {
    std::vector<std::unique_ptr<OpenRequest>> accepted = {};
    std::vector<EngineTicket> cancelled = {};
    bool stop_requests = false;
    bool forget_models = false;
    bool quit = false;
    bool pool_changed = false;
    bool loan_called = false;
  };

  EngineEvents remembered(EngineEvents events);
  void enter(OpenRequest& request);
  double seconds_until_room() const;
  void forget(EngineTicket ticket);
  void loop();
  Mail take_mail(bool has_work);
  std::optional<EngineClock::time_point> held_until() const;
  void read(Mail mail);
  void publish_stats(bool is_idle);

  const EngineOptions options_;
  EnginePlans plans_;

  mutable std::mutex mutex_;  // of all up to the next blank line
  std::condition_variable mail_came_;
  std::condition_variable settled_;
  Mail mail_;
  std::map<std::string, std::shared_ptr<const EngineModel>> models_;
  std::unordered_map<EngineTicket, int64_t> open_;  ///< Images of each open request.
  int64_t open_images_ = 0;
  EngineTicket last_ticket_ = 0;
  bool is_draining_ = false;
  bool is_settled_ = true;  ///< Nothing is open, and what was took its memory along.
  EngineStats stats_;       ///< As published, with what was rejected.

  ModelPool pool_;
  EngineLoader loader_;  // ends before pool_, which its tasks use
  EngineCore core_;      // of the engine's thread alone
  EngineLoans loans_;
  EngineClock::time_point published_ = {};
  std::thread thread_;  // last: it uses the others
};

}  // namespace ddpm
