#include "ddpm/core/file.h"

#include <atomic>
#include <cerrno>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <system_error>
#include <unistd.h>
#include <utility>

namespace ddpm {
namespace {

namespace fs = std::filesystem;

[[noreturn]] void fail(const char* function, const char* action, const fs::path& path) {
  const int error = errno;
  throw std::system_error(
      error, std::generic_category(),
      "[" + std::string(function) + "] can't " + action + " '" + path.string() + "'");
}

class Descriptor {
 public:
  Descriptor(const char* function, const fs::path& path, int flags)
      : value_(open(path.c_str(), flags | O_CLOEXEC)) {
    if (value_ < 0) fail(function, "open", path);
  }
  ~Descriptor() { close(value_); }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  int get() const { return value_; }

 private:
  int value_;
};

struct stat status_of(const char* function, const Descriptor& file, const fs::path& path) {
  struct stat status {};
  if (fstat(file.get(), &status) != 0) fail(function, "look at", path);
  if (S_ISDIR(status.st_mode)) {
    errno = EISDIR;
    fail(function, "read", path);
  }
  return status;
}

/// Reads to the end, which need not be where fstat says (pipes, files that grow).
template <typename Bytes>
Bytes read_all(const char* function, const fs::path& path) {
  constexpr size_t kPart = size_t{1} << 16;
  const Descriptor file(function, path, O_RDONLY);
  Bytes bytes;
  bytes.resize(static_cast<size_t>(status_of(function, file, path).st_size));
  size_t filled = 0;
  while (true) {
    if (filled == bytes.size()) bytes.resize(filled + kPart);
    const ssize_t got = read(file.get(), bytes.data() + filled, bytes.size() - filled);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) fail(function, "read", path);
    if (got == 0) break;
    filled += static_cast<size_t>(got);
  }
  bytes.resize(filled);
  return bytes;
}

/// Beside `path`, so that the rename stays in one file system; no other writer has the same.
fs::path temporary_name(const fs::path& path) {
  static std::atomic<uint64_t> count{0};
  return path.string() + ".tmp-" + std::to_string(getpid()) + "-" + std::to_string(count++);
}

fs::path folder_of(const fs::path& path) {
  return path.has_parent_path() ? path.parent_path() : fs::path(".");
}

}  // namespace

std::string read_text_file(const fs::path& path) {
  return read_all<std::string>("read_text_file", path);
}

std::vector<uint8_t> read_binary_file(const fs::path& path) {
  return read_all<std::vector<uint8_t>>("read_binary_file", path);
}

void fsync_directory(const fs::path& directory) {
  const Descriptor file("fsync_directory", directory, O_RDONLY | O_DIRECTORY);
  if (fsync(file.get()) != 0) fail("fsync_directory", "fsync", directory);
}

AtomicFile::AtomicFile(fs::path path) : path_(std::move(path)), temporary_(temporary_name(path_)) {
  descriptor_ = open(temporary_.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
  if (descriptor_ < 0) fail("AtomicFile", "create", path_);
}

AtomicFile::~AtomicFile() {
  if (descriptor_ >= 0) close(descriptor_);
  if (!temporary_.empty()) unlink(temporary_.c_str());
}

void AtomicFile::write(std::span<const uint8_t> bytes) {
  while (!bytes.empty()) {
    const ssize_t written = ::write(descriptor_, bytes.data(), bytes.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) fail("AtomicFile", "write", path_);
    bytes = bytes.subspan(static_cast<size_t>(written));
  }
}

void AtomicFile::commit() {
  if (fsync(descriptor_) != 0) fail("AtomicFile", "fsync", path_);
  if (close(std::exchange(descriptor_, -1)) != 0) fail("AtomicFile", "close", path_);
  if (rename(temporary_.c_str(), path_.c_str()) != 0) fail("AtomicFile", "rename to", path_);
  temporary_.clear();
  fsync_directory(folder_of(path_));
}

void write_file_atomic(const fs::path& path, std::span<const uint8_t> bytes) {
  AtomicFile file(path);
  file.write(bytes);
  file.commit();
}

void write_file_atomic(const fs::path& path, std::string_view text) {
  write_file_atomic(path, {reinterpret_cast<const uint8_t*>(text.data()), text.size()});
}

MappedFile::MappedFile(const fs::path& path) {
  const Descriptor file("MappedFile", path, O_RDONLY);
  size_ = static_cast<size_t>(status_of("MappedFile", file, path).st_size);
  if (size_ == 0) return;  // mmap refuses an empty range
  void* const mapped = mmap(nullptr, size_, PROT_READ, MAP_PRIVATE, file.get(), 0);
  if (mapped == MAP_FAILED) fail("MappedFile", "map", path);
  data_ = static_cast<const uint8_t*>(mapped);
}

MappedFile::~MappedFile() {
  if (data_ != nullptr) munmap(const_cast<uint8_t*>(data_), size_);
}

MappedFile::MappedFile(MappedFile&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)) {}

MappedFile& MappedFile::operator=(MappedFile&& other) noexcept {
  std::swap(data_, other.data_);
  std::swap(size_, other.size_);
  return *this;
}

}  // namespace ddpm
