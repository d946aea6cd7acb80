#include "ddpm/training/append_file.h"

#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>
#include <utility>

#include "ddpm/core/check.h"

namespace ddpm {

AppendFile::AppendFile(std::string path, bool truncate) : path_(std::move(path)) {
  const int flags = O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | (truncate ? O_TRUNC : 0);
  descriptor_ = ::open(path_.c_str(), flags, 0644);
  check_state(descriptor_ >= 0, "[AppendFile] can't open '", path_, "': ", std::strerror(errno));
  struct stat info {};
  const int status = ::fstat(descriptor_, &info);
  const int error = errno;
  if (status != 0) ::close(descriptor_);
  check_state(status == 0, "[AppendFile] can't read the size of '", path_,
              "': ", std::strerror(error));
  size_bytes_ = info.st_size;
}

AppendFile::~AppendFile() { ::close(descriptor_); }

void AppendFile::append(std::string_view record) {
  size_t written = 0;
  while (written < record.size()) {
    const ssize_t n = ::write(descriptor_, record.data() + written, record.size() - written);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) {
      const int error = n < 0 ? errno : ENOSPC;
      const bool restored = ::ftruncate(descriptor_, size_bytes_) == 0;
      check_state(false, "[AppendFile] can't write ", record.size(), " bytes to '", path_,
                  "': ", std::strerror(error), restored ? "" : "; its last record is cut short");
    }
    written += static_cast<size_t>(n);
  }
  size_bytes_ += static_cast<int64_t>(record.size());
}

}  // namespace ddpm
