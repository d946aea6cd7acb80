#pragma once

#include <filesystem>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "ddpm/serving/api/served_model.h"
#include "ddpm/serving/engine/engine.h"

namespace ddpm {

/// A folder that is a model, but one that can't be served.
struct RefusedModel {
  std::string id;
  std::string reason;  ///< One sentence for clients.
};

/// What a reload changed, by id.
struct ServedModelChanges {
  std::vector<std::string> added, changed, removed;
};

/// The models of a folder: each subfolder that is a model, or the folder itself where it is one. A
/// model's id is its folder's name. Safe in any thread.
class ServedModels {
 public:
  /// @throws std::invalid_argument if there is no such folder.
  /// @throws std::runtime_error    if it holds no model that can be served.
  ServedModels(std::filesystem::path folder, ServedModelOptions options);

  /// Models that are there already, for tests.
  explicit ServedModels(std::vector<ServedModel> models);

  /// Looks at the folder again; what did not change stays the same object. The engine is to be told
  /// (Engine::set_models). What can't be read is named in the log.
  ///
  /// @throws as the constructor does; the models stay as they were.
  ServedModelChanges reload();

  /// The model of an id, or null.
  std::shared_ptr<const ServedModel> find(const std::string& id) const;

  std::vector<std::shared_ptr<const ServedModel>> list() const;  ///< By id.
  std::vector<RefusedModel> refused() const;                     ///< By id.
  Engine::Models engine_models() const;

 private:
  using ById = std::map<std::string, std::shared_ptr<const ServedModel>>;
  struct Found {
    ById models;
    std::map<std::string, std::string> refused = {};  ///< id -> reason
  };
  Found scan() const;
  void take(Found& found, const std::string& id, const std::filesystem::path& path) const;

  const std::filesystem::path folder_;  ///< Empty: nothing to reload.
  const ServedModelOptions options_;
  mutable std::mutex mutex_;  // of what follows
  Found known_;
};

}  // namespace ddpm
