#pragma once

#include <filesystem>
#include <string>

namespace ddpm {

/// A folder that appears under its name complete, or not at all: files go to a hidden folder beside
/// it; commit() puts it in place. Without commit() the hidden folder is removed.
///
/// On file systems that can't exchange two names, replacing a folder takes two renames. A kill
/// between them leaves the old folder hidden: the next AtomicFolder of that name, or
/// restore_replaced_folders(), gives it its name back.
class AtomicFolder {
 public:
  /// Creates the hidden folder, and the folders above it.
  ///
  /// @throws std::runtime_error, naming the folder, if it can't be created.
  explicit AtomicFolder(const std::filesystem::path& folder);
  ~AtomicFolder();
  AtomicFolder(const AtomicFolder&) = delete;
  AtomicFolder& operator=(const AtomicFolder&) = delete;

  /// The folder's own name, absolute.
  const std::filesystem::path& folder() const { return folder_; }

  /// Where to write until commit(). Files must be on the disk already (fsync), as AtomicFile does.
  const std::filesystem::path& path() const { return hidden_; }

  /// Syncs the folders and renames. A folder that is there already is replaced, in one exchange of
  /// the two names, or in two renames on file systems that can't exchange.
  ///
  /// @throws std::runtime_error, naming the folder.
  void commit();

 private:
  std::filesystem::path folder_;
  std::filesystem::path hidden_;
};

/// Removes a folder so that a kill half-way leaves no half of it under its name.
///
/// @throws std::runtime_error, naming the folder.
void remove_folder_atomic(const std::filesystem::path& folder);

/// Gives the folders in `parent` their names back whose replacement a kill has interrupted: the
/// folder `name`, or every one if it is empty. No other process may be writing there.
///
/// @throws std::runtime_error, naming the folder.
void restore_replaced_folders(const std::filesystem::path& parent, const std::string& name = "");

/// Restores as above, then removes the hidden folders that killed processes left in `parent`: those
/// of the folder `name`, or of every folder if it is empty.
///
/// @throws std::runtime_error, naming the folder.
void remove_stale_folders(const std::filesystem::path& parent, const std::string& name = "");

}  // namespace ddpm
