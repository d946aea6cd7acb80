#pragma once

#include <map>
#include <mutex>
#include <string>
#include <string_view>

#include "ddpm/serving/http/http_message.h"

namespace ddpm {

/// `bytes` as a gzip member [RFC 1952], without name and time.
/// @throws std::runtime_error if zlib can't.
std::string gzip(std::string_view bytes);

/// Whether an Accept-Encoding takes gzip ("gzip;q=0" doesn't).
bool accepts_gzip(const std::string* accept_encoding);

/// Whether compressing a body of this type pays: text, JSON, scripts, SVG.
bool is_compressible(std::string_view media_type);

/// Compressed bodies by their ETag, so that files of the page are compressed once. Thread-safe.
class GzipCache {
 public:
  explicit GzipCache(size_t max_bytes = 8 << 20) : max_bytes_(max_bytes) {}

  /// Without an etag nothing is kept.
  SharedBytes get(const std::string& etag, std::string_view bytes);

 private:
  const size_t max_bytes_;
  std::mutex mutex_;
  std::map<std::string, SharedBytes> kept_;
  size_t kept_bytes_ = 0;
};

}  // namespace ddpm
