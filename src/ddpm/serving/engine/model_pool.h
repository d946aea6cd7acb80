#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "ddpm/serving/engine/engine_model.h"
#include "ddpm/serving/engine/engine_stats.h"

namespace ddpm {

enum class ModelState { kReady, kLoading, kNoRoom, kFailed };

/// A model as it stands.
struct FoundModel {
  ModelState state = ModelState::kLoading;
  std::shared_ptr<const EngineNetwork> network = {};  ///< Where it is ready.
  std::string message = "";                           ///< Where it failed: what was thrown.
};

/// The networks in memory. A network is in use while a copy of the pointer that find() gave lives;
/// those that are not make room for others, least recently found first.
class ModelPool {
 public:
  /// Runs a task: at once, or in another thread.
  using RunFn = std::function<void(std::function<void()>)>;

  /// @param max_bytes of the weights in memory, those that are being read with them.
  /// @param run       where weights are read.
  /// @param changed   called where a model became ready or failed, in run's thread.
  ModelPool(int64_t max_bytes, RunFn run, std::function<void()> changed = {});

  /// The model's network, or what keeps it away; begins to read it if there is room. A failure is
  /// told once: the next call tries again. One thread calls at a time.
  FoundModel find(const std::shared_ptr<const EngineModel>& model);

  /// Puts out the networks of models that are not among these, where they are not in use.
  void keep(const std::vector<std::shared_ptr<const EngineModel>>& models);

  ModelPoolStats stats() const;

 private:
  struct Entry {
    std::shared_ptr<const EngineModel> model;
    std::shared_ptr<const EngineNetwork> network = {};
    std::string error = "";
    uint64_t last_found = 0;
  };

  std::shared_ptr<Entry> entry_of(const EngineModel& model);
  bool make_room(int64_t size_bytes);
  void load(const std::shared_ptr<Entry>& entry);

  const int64_t max_bytes_;
  const RunFn run_;
  const std::function<void()> changed_;
  mutable std::mutex mutex_;  // of all that follows
  std::vector<std::shared_ptr<Entry>> entries_;
  uint64_t clock_ = 0;
  ModelPoolStats stats_;
};

}  // namespace ddpm
