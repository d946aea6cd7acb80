#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "ddpm/serving/http/http_gzip.h"
#include "ddpm/serving/http/http_message.h"

namespace ddpm {

/// A file open for reading, closed with the last owner.
class OpenFile {
 public:
  /// @throws HttpError 404 if it isn't a regular file that can be opened.
  explicit OpenFile(const std::filesystem::path& path);
  ~OpenFile();
  OpenFile(const OpenFile&) = delete;
  OpenFile& operator=(const OpenFile&) = delete;

  uint64_t size_bytes() const { return size_bytes_; }
  /// Up to `size_bytes` from `offset`; less only at the file's end.
  std::string read(uint64_t offset, size_t size_bytes) const;

 private:
  int descriptor_;
  uint64_t size_bytes_;
};

/// What goes over the wire: which bytes of which body, and the fields that say so.
struct HttpPayload {
  int status = 200;
  HttpHeaders headers = {};
  SharedBytes bytes = {};  ///< one of these three, or none
  std::shared_ptr<OpenFile> file = {};
  HttpStreamBody stream = {};
  uint64_t first = 0;
  uint64_t length = 0;   ///< of what is sent of bytes or file, and Content-Length
  bool has_body = true;  ///< false: only the fields are sent (HEAD, 204, 304)
};

/// The bytes [first, last] of `size` that a Range field asks for [RFC 9110, 14].
struct ByteRange {
  enum class Kind { kAll, kPart, kUnsatisfiable };
  Kind kind = Kind::kAll;  ///< kAll also for several ranges or another unit: the field is ignored
  uint64_t first = 0;
  uint64_t last = 0;
};
ByteRange parse_byte_range(std::string_view range, uint64_t size);

/// Whether an If-None-Match names `etag`, also in its compressed variant.
bool etag_matches(std::string_view if_none_match, std::string_view etag);

/// Answers conditional and range requests, compresses what pays, opens files.
/// @throws HttpError 404 if the response's file is not there.
HttpPayload make_payload(const HttpRequest& request, HttpResponse response, GzipCache& cache);

}  // namespace ddpm
