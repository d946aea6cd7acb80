#include "ddpm/serving/api/served_models.h"

#include <nlohmann/json.hpp>

#include <stdexcept>
#include <utility>

#include "ddpm/core/check.h"
#include "ddpm/core/log.h"
#include "ddpm/core/one_line.h"

namespace ddpm {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kMaxIdBytes = 200;

/// A folder's name that can stand in a URL, JSON and a log.
bool is_model_id(const std::string& name) {
  if (name.empty() || name.size() > kMaxIdBytes || name.starts_with('.')) return false;
  for (const char letter : name) {
    if (static_cast<unsigned char>(letter) < 0x20 || letter == 0x7f) return false;
  }
  try {
    return !nlohmann::json(name).dump().empty();
  } catch (const nlohmann::json::type_error&) {  // not UTF-8
    return false;
  }
}

std::string name_of(const fs::path& folder) {
  const fs::path whole = fs::canonical(folder);
  return whole.filename().string();
}

}  // namespace

ServedModels::ServedModels(fs::path folder, ServedModelOptions options)
    : folder_(std::move(folder)), options_(std::move(options)) {
  check_arg(fs::is_directory(folder_), "[", folder_.string(),
            "] expected a folder of models, or a model, got ",
            fs::exists(folder_) ? "a file" : "nothing there");
  known_ = scan();
}

ServedModels::ServedModels(std::vector<ServedModel> models) {
  for (ServedModel& model : models) {
    auto held = std::make_shared<const ServedModel>(std::move(model));
    known_.models[held->id] = held;
  }
}

/// Throws std::invalid_argument where the path is no model.
void ServedModels::take(Found& found, const std::string& id, const fs::path& path) const {
  try {
    auto model = std::make_shared<const ServedModel>(read_served_model(id, path, options_));
    const auto before = find(id);
    const bool is_same = before != nullptr && before->fingerprint == model->fingerprint;
    found.models[id] = is_same ? before : model;
  } catch (const UnusableModel& refusal) {
    found.refused[id] = refusal.what();
  } catch (const std::invalid_argument&) {
    throw;
  } catch (const std::exception& error) {
    log_warn("[serve] the model '" + id + "' can't be read: " + error.what());
    found.refused[id] = "Its files are damaged.";
  }
}

ServedModels::Found ServedModels::scan() const {
  Found found;
  std::string why_not_itself;
  try {
    take(found, name_of(folder_), folder_);
    check_state(!found.models.empty(), "[", folder_.string(), "] expected a model to serve, got: ",
                found.refused.empty() ? "" : found.refused.begin()->second);
    return found;
  } catch (const std::invalid_argument& error) {
    why_not_itself = error.what();
  }
  for (const fs::directory_entry& entry : fs::directory_iterator(folder_)) {
    const std::string id = entry.path().filename().string();
    if (!entry.is_directory() || id.starts_with('.')) continue;
    if (!is_model_id(id)) {
      log_warn("[serve] '" + one_line(id) + "' is left out: expected a name of at most " +
               std::to_string(kMaxIdBytes) + " bytes of UTF-8 without control characters");
      continue;
    }
    try {
      take(found, id, entry.path());
    } catch (const std::invalid_argument& error) {
      log_info("[serve] '" + id + "' is no model: " + error.what());
    }
  }
  check_state(!found.models.empty(), "[", folder_.string(),
              "] expected at least one model that can be served, got ", found.refused.size(),
              " that can't; as a model itself: ", why_not_itself);
  return found;
}

ServedModelChanges ServedModels::reload() {
  if (folder_.empty()) return {};
  Found found = scan();
  ServedModelChanges changes;
  const std::lock_guard lock(mutex_);
  for (const auto& [id, model] : found.models) {
    const auto before = known_.models.find(id);
    if (before == known_.models.end()) {
      changes.added.push_back(id);
    } else if (before->second != model) {
      changes.changed.push_back(id);
    }
  }
  for (const auto& [id, model] : known_.models) {
    if (!found.models.contains(id)) changes.removed.push_back(id);
  }
  known_ = std::move(found);
  return changes;
}

std::shared_ptr<const ServedModel> ServedModels::find(const std::string& id) const {
  const std::lock_guard lock(mutex_);
  const auto found = known_.models.find(id);
  return found == known_.models.end() ? nullptr : found->second;
}

std::vector<std::shared_ptr<const ServedModel>> ServedModels::list() const {
  const std::lock_guard lock(mutex_);
  std::vector<std::shared_ptr<const ServedModel>> models;
  for (const auto& [id, model] : known_.models) models.push_back(model);
  return models;
}

std::vector<RefusedModel> ServedModels::refused() const {
  const std::lock_guard lock(mutex_);
  std::vector<RefusedModel> refused;
  for (const auto& [id, reason] : known_.refused) refused.push_back({id, reason});
  return refused;
}

Engine::Models ServedModels::engine_models() const {
  Engine::Models models;
  for (const auto& model : list()) models.push_back(model->engine);
  return models;
}

}  // namespace ddpm
