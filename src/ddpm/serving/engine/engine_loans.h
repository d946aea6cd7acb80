#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <future>
#include <memory>
#include <mutex>

#include "ddpm/serving/engine/engine_request.h"
#include "ddpm/serving/engine/model_pool.h"

namespace ddpm {

/// A network in the hands of another thread. It stays in memory while this lives.
struct EngineLoan {
  std::shared_ptr<const EngineModel> model;
  std::shared_ptr<const EngineNetwork> network = {};  ///< Of the engine's thread, from call one on.
};

/// Network calls that other threads wait for and the engine's thread makes, so that this one alone
/// touches the device and weights are in memory once.
class EngineLoans {
 public:
  /// @param wake called, by the asking thread, where there is a call to make.
  explicit EngineLoans(std::function<void()> wake) : wake_(std::move(wake)) {}

  /// Any thread: asks for a call and waits for its answer.
  ///
  /// @throws EngineRejected if the engine stops, or the model finds no room for kPatience.
  /// @throws std::runtime_error if its weights can't be read; else what the network throws.
  Tensor call(const std::shared_ptr<EngineLoan>& loan, const Tensor& x_t, const Tensor& t,
              const Tensor& class_labels);

  /// The engine's thread: makes the oldest call whose network is there.
  ///
  /// @return whether there was one.
  bool serve(ModelPool& pool, EngineClock::time_point now);

  /// Refuses what waits, and what comes from now on.
  void stop();

  bool is_idle() const;
  uint64_t num_calls() const;

  static constexpr std::chrono::seconds kPatience{30};

 private:
  struct Call {
    std::shared_ptr<EngineLoan> loan;
    Tensor x_t, t, class_labels;
    EngineClock::time_point asked;
    std::promise<Tensor> answer = {};
  };
  using CallPtr = std::shared_ptr<Call>;

  enum class Found { kReady, kNotYet, kRefused };
  static Found find_network(Call& call, ModelPool& pool, EngineClock::time_point now);
  void remove(const CallPtr& call);

  const std::function<void()> wake_;
  mutable std::mutex mutex_;  // of all that follows
  std::deque<CallPtr> calls_;
  uint64_t num_calls_ = 0;
  bool is_stopped_ = false;
};

}  // namespace ddpm
