#pragma once

#include <filesystem>

namespace ddpm {

/// A file that one holder at a time locks, with flock(2). The system gives the lock free when the
/// process ends, however it ends. The file stays, and says who holds it.
class FileLock {
 public:
  /// flock(2), or what stands for it in a test: 0, or -1 and errno.
  using LockFunction = int (*)(int descriptor, int operation);

  /// Creates the file if it is absent, and locks it without waiting.
  ///
  /// @throws std::invalid_argument, naming the holder (program, process, host, since when), if
  ///         another process or another FileLock of this one holds it.
  /// @throws std::system_error, naming the file, if it can't be opened or locked.
  explicit FileLock(std::filesystem::path path);
  FileLock(std::filesystem::path path, LockFunction lock);
  ~FileLock();
  FileLock(FileLock&& other) noexcept;
  FileLock(const FileLock&) = delete;
  FileLock& operator=(const FileLock&) = delete;

  /// False on file systems that can't lock: nothing keeps a second holder out then.
  bool is_held() const { return is_held_; }

  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
  int descriptor_ = -1;
  bool is_held_ = false;
};

}  // namespace ddpm
