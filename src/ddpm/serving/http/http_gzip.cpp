#include "ddpm/serving/http/http_gzip.h"

#include <algorithm>
#include <stdexcept>
#include <zlib.h>

#include "ddpm/serving/http/http_media_type.h"

namespace ddpm {
namespace {

/// Whether one item of the field, "gzip;q=0.5", takes gzip.
bool takes_gzip(std::string_view item) {
  try {
    const HttpMediaType coding = parse_media_type(item);
    if (coding.type != "gzip" && coding.type != "*") return false;
    const auto q = coding.parameters.find("q");
    return q == coding.parameters.end() || q->second.find_first_not_of("0.") != std::string::npos;
  } catch (const HttpError&) {
    return false;
  }
}

}  // namespace

std::string gzip(std::string_view bytes) {
  constexpr int kGzipWindow = 15 + 16;
  constexpr int kMemoryLevel = 8;
  z_stream stream{};
  if (deflateInit2(&stream, Z_DEFAULT_COMPRESSION, Z_DEFLATED, kGzipWindow, kMemoryLevel,
                   Z_DEFAULT_STRATEGY) != Z_OK) {
    throw std::runtime_error("[gzip] zlib: expected it to start, got an error");
  }
  std::string compressed(deflateBound(&stream, bytes.size()), '\0');
  std::string input(bytes);  // zlib wants bytes that it could change
  stream.next_in = reinterpret_cast<Bytef*>(input.data());
  stream.avail_in = static_cast<uInt>(input.size());
  stream.next_out = reinterpret_cast<Bytef*>(compressed.data());
  stream.avail_out = static_cast<uInt>(compressed.size());
  const int outcome = deflate(&stream, Z_FINISH);
  compressed.resize(stream.total_out);
  deflateEnd(&stream);
  if (outcome != Z_STREAM_END) throw std::runtime_error("[gzip] zlib: expected the end, got none");
  return compressed;
}

bool accepts_gzip(const std::string* accept_encoding) {
  if (accept_encoding == nullptr) return false;
  std::string_view rest(*accept_encoding);
  while (!rest.empty()) {
    const size_t end = std::min(rest.find(','), rest.size());
    const std::string_view item = rest.substr(0, end);
    if (item.find_first_not_of(" \t") != item.npos && takes_gzip(item)) return true;
    rest.remove_prefix(std::min(end + 1, rest.size()));
  }
  return false;
}

bool is_compressible(std::string_view media_type) {
  const std::string_view type = media_type.substr(0, media_type.find(';'));
  return type.starts_with("text/") || type.ends_with("json") || type.ends_with("xml") ||
         type.ends_with("javascript");
}

SharedBytes GzipCache::get(const std::string& etag, std::string_view bytes) {
  if (!etag.empty()) {
    const std::lock_guard lock(mutex_);
    const auto found = kept_.find(etag);
    if (found != kept_.end()) return found->second;
  }
  auto compressed = std::make_shared<const std::string>(gzip(bytes));
  if (!etag.empty() && compressed->size() <= max_bytes_) {
    const std::lock_guard lock(mutex_);
    if (kept_bytes_ + compressed->size() > max_bytes_) {
      kept_.clear();
      kept_bytes_ = 0;
    }
    if (kept_.emplace(etag, compressed).second) kept_bytes_ += compressed->size();
  }
  return compressed;
}

}  // namespace ddpm
