#include "ddpm/serving/engine/model_pool.h"

#include <algorithm>
#include <exception>
#include <utility>

namespace ddpm {

ModelPool::ModelPool(int64_t max_bytes, RunFn run, std::function<void()> changed)
    : max_bytes_(max_bytes), run_(std::move(run)), changed_(std::move(changed)) {}

std::shared_ptr<ModelPool::Entry> ModelPool::entry_of(const EngineModel& model) {
  const auto found = std::find_if(entries_.begin(), entries_.end(),
                                  [&](const auto& entry) { return entry->model.get() == &model; });
  return found == entries_.end() ? nullptr : *found;
}

bool ModelPool::make_room(int64_t size_bytes) {
  while (stats_.resident_bytes + size_bytes > max_bytes_) {
    auto oldest = entries_.end();
    for (auto it = entries_.begin(); it != entries_.end(); ++it) {
      const bool is_idle = (*it)->network != nullptr && (*it)->network.use_count() == 1;
      if (!is_idle) continue;
      if (oldest == entries_.end() || (*it)->last_found < (*oldest)->last_found) oldest = it;
    }
    if (oldest == entries_.end()) return false;
    stats_.resident_bytes -= (*oldest)->model->size_bytes;
    ++stats_.num_evictions;
    entries_.erase(oldest);
  }
  return true;
}

FoundModel ModelPool::find(const std::shared_ptr<const EngineModel>& model) {
  std::shared_ptr<Entry> entry;
  {
    const std::lock_guard lock(mutex_);
    entry = entry_of(*model);
    if (entry != nullptr) {
      entry->last_found = ++clock_;
      if (entry->network != nullptr) return {ModelState::kReady, entry->network};
      if (entry->error.empty()) return {ModelState::kLoading};
      std::erase(entries_, entry);
      return {ModelState::kFailed, {}, entry->error};
    }
    if (!make_room(model->size_bytes)) return {ModelState::kNoRoom};
    entry = std::make_shared<Entry>(Entry{.model = model, .last_found = ++clock_});
    entries_.push_back(entry);
    stats_.resident_bytes += model->size_bytes;
  }
  run_([this, entry] { load(entry); });
  const std::lock_guard lock(mutex_);
  if (entry->network == nullptr) return {ModelState::kLoading};
  return {ModelState::kReady, entry->network};
}

void ModelPool::load(const std::shared_ptr<Entry>& entry) {
  std::shared_ptr<const EngineNetwork> network;
  std::string error;
  try {
    network = std::make_shared<const EngineNetwork>(entry->model->load());
  } catch (const std::exception& thrown) {
    error = thrown.what();
    if (error.empty()) error = "an exception without a message";
  }
  {
    const std::lock_guard lock(mutex_);
    entry->network = std::move(network);
    entry->error = error;
    ++(error.empty() ? stats_.num_loads : stats_.num_failed_loads);
    if (!error.empty()) stats_.resident_bytes -= entry->model->size_bytes;
  }
  if (changed_) changed_();
}

void ModelPool::keep(const std::vector<std::shared_ptr<const EngineModel>>& models) {
  const std::lock_guard lock(mutex_);
  std::erase_if(entries_, [&](const std::shared_ptr<Entry>& entry) {
    const bool is_known = std::find(models.begin(), models.end(), entry->model) != models.end();
    const bool is_idle = entry->network != nullptr && entry->network.use_count() == 1;
    if (is_known || !is_idle) return false;
    stats_.resident_bytes -= entry->model->size_bytes;
    ++stats_.num_evictions;
    return true;
  });
}

ModelPoolStats ModelPool::stats() const {
  const std::lock_guard lock(mutex_);
  ModelPoolStats stats = stats_;
  stats.num_resident = std::count_if(entries_.begin(), entries_.end(),
                                     [](const auto& entry) { return entry->network != nullptr; });
  return stats;
}

}  // namespace ddpm
