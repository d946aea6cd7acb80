#include "ddpm/core/file_lock.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <ctime>
#include <fcntl.h>
#include <string>
#include <sys/file.h>
#include <system_error>
#include <unistd.h>
#include <utility>

#include "ddpm/core/check.h"

namespace ddpm {
namespace {

/// "ddpm, process 4711 on box, since 2026-01-31 12:30:01".
std::string describe_holder() {
  std::array<char, 256> host{};
  gethostname(host.data(), host.size() - 1);
  const std::time_t now = std::time(nullptr);
  std::tm local{};
  localtime_r(&now, &local);
  std::array<char, 32> since{};
  std::strftime(since.data(), since.size(), "%Y-%m-%d %H:%M:%S", &local);
  return c10::str(program_invocation_short_name, ", process ", getpid(), " on ", host.data(),
                  ", since ", since.data());
}

/// The holder's line, which it may not have written yet.
std::string read_holder(int descriptor) {
  std::array<char, 400> bytes{};
  const ssize_t got = pread(descriptor, bytes.data(), bytes.size(), 0);
  if (got <= 0) return "another process";
  std::string line(bytes.data(), static_cast<size_t>(got));
  line = line.substr(0, line.find('\n'));
  std::replace_if(
      line.begin(), line.end(), [](char c) { return c < ' ' || c > '~'; }, '?');
  return line;
}

bool means_unsupported(int error) {
  return error == EOPNOTSUPP || error == ENOSYS || error == ENOLCK || error == EINVAL;
}

}  // namespace

FileLock::FileLock(std::filesystem::path path) : FileLock(std::move(path), ::flock) {}

FileLock::FileLock(std::filesystem::path path, LockFunction lock) : path_(std::move(path)) {
  const auto fail = [&](const char* action, int error) {
    if (descriptor_ >= 0) close(descriptor_);
    throw std::system_error(error, std::generic_category(),
                            c10::str("[FileLock] can't ", action, " '", path_.string(), "'"));
  };
  descriptor_ = open(path_.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0666);
  if (descriptor_ < 0) fail("open", errno);
  int status = 0;
  do {
    status = lock(descriptor_, LOCK_EX | LOCK_NB);
  } while (status != 0 && errno == EINTR);
  const int error = status == 0 ? 0 : errno;
  if (error == EWOULDBLOCK) {
    const std::string holder = read_holder(descriptor_);
    close(descriptor_);
    check_arg(false, "[FileLock] one holder at a time: expected '", path_.string(),
              "' to be free, got it held by ", holder);
  }
  if (error != 0 && !means_unsupported(error)) fail("lock", error);
  is_held_ = error == 0;
  // The lock counts, not the line: on a full disk the holder stays unnamed.
  const std::string holder = describe_holder() + "\n";
  static_cast<void>(ftruncate(descriptor_, 0) == 0 &&
                    pwrite(descriptor_, holder.data(), holder.size(), 0) > 0);
}

FileLock::~FileLock() {
  if (descriptor_ < 0) return;
  if (is_held_) static_cast<void>(ftruncate(descriptor_, 0) == 0);
  close(descriptor_);
}

FileLock::FileLock(FileLock&& other) noexcept
    : path_(std::move(other.path_)),
      descriptor_(std::exchange(other.descriptor_, -1)),
      is_held_(std::exchange(other.is_held_, false)) {}

}  // namespace ddpm
