#include "ddpm/checkpoint/atomic_folder.h"

#include <atomic>
#include <cerrno>
#include <fcntl.h>
#include <random>
#include <stdio.h>
#include <string>
#include <system_error>
#include <unistd.h>
#include <vector>

#include "ddpm/core/check.h"
#include "ddpm/core/file.h"

namespace ddpm {
namespace {

namespace fs = std::filesystem;

constexpr const char* kMark = ".tmp-";

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

fs::path hidden_name(const fs::path& folder) {
  static std::atomic<int> count{0};
  return folder.parent_path() /
         c10::str(".", folder.filename().string(), kMark, process_tag(), count++);
}

void rename_folder(const fs::path& from, const fs::path& to) {
  std::error_code error;
  fs::rename(from, to, error);
  check_done(error, "rename to", to);
}

/// Puts `from` in the place of `to`, which is left under the name `from`.
void exchange_folders(const fs::path& from, const fs::path& to) {
  if (renameat2(AT_FDCWD, from.c_str(), AT_FDCWD, to.c_str(), RENAME_EXCHANGE) == 0) return;
  const std::error_code error(errno, std::generic_category());
  const bool unsupported = error.value() == EINVAL || error.value() == ENOSYS;
  if (!unsupported) check_done(error, "replace", to);
  const fs::path aside = hidden_name(to);
  rename_folder(to, aside);
  rename_folder(from, to);
  rename_folder(aside, from);
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
  fs::create_directories(hidden_, error);
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
    exchange_folders(hidden_, folder_);
    fsync_directory(folder_.parent_path());
    remove_folder(hidden_);
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

void remove_stale_folders(const fs::path& parent, const std::string& name) {
  std::vector<fs::path> stale;
  for (const auto& entry : fs::directory_iterator(parent)) {
    const std::string hidden = entry.path().filename().string();
    const auto mark = hidden.find(kMark);
    if (hidden.front() != '.' || mark == std::string::npos) continue;
    const bool is_named = name.empty() || hidden.compare(1, mark - 1, name) == 0;
    const bool is_ours = hidden.find(process_tag(), mark) != std::string::npos;
    if (is_named && !is_ours) stale.push_back(entry.path());
  }
  for (const auto& folder : stale) remove_folder(folder);
}

}  // namespace ddpm
