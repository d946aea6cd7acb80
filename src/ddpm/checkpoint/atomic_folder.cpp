#include "ddpm/checkpoint/atomic_folder.h"

#include <atomic>
#include <optional>
#include <random>
#include <string>
#include <system_error>
#include <unistd.h>
#include <vector>

#include "ddpm/checkpoint/replace_folder.h"
#include "ddpm/core/check.h"
#include "ddpm/core/file.h"

namespace ddpm {
namespace {

namespace fs = std::filesystem;

constexpr const char* kNewMark = ".tmp-";  ///< not yet complete, or no longer wanted
constexpr const char* kOldMark = ".old-";  ///< being replaced

void check_done(const std::error_code& error, const char* action, const fs::path& path) {
  check_state(!error, "[AtomicFolder] can't ", action, " '", path.string(), "': ", error.message());
}

/// Differs from that of any other process: of an earlier one, which a process id in a container
/// does not, and of the one that this was forked from.
std::string process_tag() {
  static const std::string random_part = [] {
    std::random_device random;
    return c10::str(random(), "-", random());
  }();
  return c10::str(random_part, "-", getpid(), "-");
}

fs::path without_trailing_slash(const fs::path& folder) {
  const fs::path normal = fs::absolute(folder).lexically_normal();
  return normal.has_filename() ? normal : normal.parent_path();
}

fs::path hidden_name(const fs::path& folder, const char* mark = kNewMark) {
  static std::atomic<int> count{0};
  return folder.parent_path() /
         c10::str(".", folder.filename().string(), mark, process_tag(), count++);
}

/// A hidden folder that another process has left.
struct StaleFolder {
  fs::path path;
  fs::path named;  ///< what it is hidden from
};

/// Those with `mark`, of the folder `name` or, if it is empty, of every folder.
std::vector<StaleFolder> stale_folders(const fs::path& parent, const std::string& name,
                                       const char* mark) {
  std::vector<StaleFolder> stale;
  for (const auto& entry : fs::directory_iterator(parent)) {
    const std::string hidden = entry.path().filename().string();
    const auto end = hidden.rfind(mark);
    if (hidden.front() != '.' || end == std::string::npos) continue;
    const std::string named = hidden.substr(1, end - 1);
    const bool is_ours = hidden.find(process_tag(), end) != std::string::npos;
    if ((name.empty() || named == name) && !is_ours) {
      stale.push_back({.path = entry.path(), .named = parent / named});
    }
  }
  return stale;
}

void rename_folder(const fs::path& from, const fs::path& to) {
  std::error_code error;
  fs::rename(from, to, error);
  check_done(error, "rename to", to);
}

void remove_folder(const fs::path& folder) {
  std::error_code error;
  fs::remove_all(folder, error);
  check_done(error, "remove", folder);
}

}  // namespace

AtomicFolder::AtomicFolder(const fs::path& folder)
    : folder_(without_trailing_slash(folder)), hidden_(hidden_name(folder_)) {
  std::error_code error;
  fs::create_directories(folder_.parent_path(), error);
  check_done(error, "create", folder_);
  restore_replaced_folders(folder_.parent_path(), folder_.filename().string());
  fs::create_directory(hidden_, error);
  check_done(error, "create", folder_);
}

AtomicFolder::~AtomicFolder() {
  std::error_code ignored;  // what stays behind is stale, and removed later
  if (!hidden_.empty()) fs::remove_all(hidden_, ignored);
}

void AtomicFolder::commit() {
  fsync_directory(hidden_);
  for (const auto& entry : fs::recursive_directory_iterator(hidden_)) {
    if (entry.is_directory()) fsync_directory(entry.path());
  }
  if (fs::exists(folder_)) {
    const fs::path old = replace_folder(hidden_, folder_, hidden_name(folder_, kOldMark));
    fsync_directory(folder_.parent_path());
    remove_folder(old);
  } else {
    rename_folder(hidden_, folder_);
    fsync_directory(folder_.parent_path());
  }
  hidden_.clear();
}

void remove_folder_atomic(const fs::path& folder) {
  const fs::path named = without_trailing_slash(folder);
  const fs::path hidden = hidden_name(named);
  rename_folder(named, hidden);
  fsync_directory(named.parent_path());
  remove_folder(hidden);
}

void restore_replaced_folders(const fs::path& parent, const std::string& name) {
  for (const StaleFolder& old : stale_folders(parent, name, kOldMark)) {
    if (!fs::exists(old.named)) rename_folder(old.path, old.named);
  }
}

void remove_stale_folders(const fs::path& parent, const std::string& name) {
  restore_replaced_folders(parent, name);
  for (const char* mark : {kNewMark, kOldMark}) {
    for (const StaleFolder& stale : stale_folders(parent, name, mark)) remove_folder(stale.path);
  }
}

}  // namespace ddpm
