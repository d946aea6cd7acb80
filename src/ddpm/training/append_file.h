#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace ddpm {

/// A file that grows by whole records: append() writes all of a record or none of it.
class AppendFile {
 public:
  /// Opens for appending, creating the file where there is none.
  /// @param truncate start empty.
  /// @throws std::runtime_error if it can't be opened; names the file and the system's reason.
  AppendFile(std::string path, bool truncate);
  ~AppendFile();
  AppendFile(const AppendFile&) = delete;
  AppendFile& operator=(const AppendFile&) = delete;

  /// Hands the record to the system, so that it survives this process.
  /// @throws std::runtime_error if it can't be written (disk full); the file is as it was before.
  void append(std::string_view record);

  int64_t size_bytes() const { return size_bytes_; }
  const std::string& path() const { return path_; }

 private:
  std::string path_;
  int descriptor_ = -1;
  int64_t size_bytes_ = 0;
};

}  // namespace ddpm
