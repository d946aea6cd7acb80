#include "ddpm/serving/http/http_payload.h"

#include <algorithm>
#include <charconv>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

namespace ddpm {
namespace {

constexpr size_t kLeastGzipBytes = 512;
constexpr size_t kMostGzipBytes = 4 << 20;

/// A decimal number that is the whole text.
std::optional<uint64_t> whole_number(std::string_view text) {
  uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (text.empty() || error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

/// "\"abc\"" becomes "\"abc-gz\"": other bytes need another strong ETag.
std::string gzip_etag(const std::string& etag) { return etag.substr(0, etag.size() - 1) + "-gz\""; }

void set_body(HttpPayload& payload, HttpResponse& response) {
  if (auto* text = std::get_if<std::string>(&response.body)) {
    payload.bytes = std::make_shared<const std::string>(std::move(*text));
  } else if (auto* shared = std::get_if<SharedBytes>(&response.body)) {
    payload.bytes = *shared ? *shared : std::make_shared<const std::string>();
  } else if (auto* file = std::get_if<HttpFile>(&response.body)) {
    payload.file = std::make_shared<OpenFile>(file->path);
  } else {
    payload.stream = std::get<HttpStreamBody>(response.body);
  }
  payload.length = payload.bytes  ? payload.bytes->size()
                   : payload.file ? payload.file->size_bytes()
                                  : 0;
}

void compress(HttpPayload& payload, const HttpRequest& request, HttpResponse& response,
              GzipCache& cache) {
  const bool pays = payload.bytes && payload.length >= kLeastGzipBytes &&
                    payload.length <= kMostGzipBytes && is_compressible(response.media_type);
  if (!pays) return;
  payload.headers.emplace_back("Vary", "Accept-Encoding");
  if (find_header(request.headers, "Range") != nullptr ||
      !accepts_gzip(find_header(request.headers, "Accept-Encoding"))) {
    return;
  }
  payload.bytes = response.gzip ? response.gzip : cache.get(response.etag, *payload.bytes);
  payload.length = payload.bytes->size();
  payload.headers.emplace_back("Content-Encoding", "gzip");
  if (!response.etag.empty()) response.etag = gzip_etag(response.etag);
}

void choose_range(HttpPayload& payload, const HttpRequest& request, const HttpResponse& response) {
  payload.headers.emplace_back("Accept-Ranges", "bytes");
  const std::string* const range = find_header(request.headers, "Range");
  const std::string* const if_range = find_header(request.headers, "If-Range");
  if (range == nullptr || request.method != HttpMethod::kGet) return;
  if (if_range != nullptr && *if_range != response.etag) return;
  const uint64_t size = payload.length;
  const ByteRange part = parse_byte_range(*range, size);
  if (part.kind == ByteRange::Kind::kAll) return;
  const std::string total = "/" + std::to_string(size);
  if (part.kind == ByteRange::Kind::kUnsatisfiable) {
    payload.status = 416;
    payload.headers.emplace_back("Content-Range", "bytes *" + total);
    payload.length = 0;
    return;
  }
  payload.status = 206;
  payload.first = part.first;
  payload.length = part.last - part.first + 1;
  payload.headers.emplace_back("Content-Range", "bytes " + std::to_string(part.first) + "-" +
                                                    std::to_string(part.last) + total);
}

}  // namespace

OpenFile::OpenFile(const std::filesystem::path& path)
    : descriptor_(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK)), size_bytes_(0) {
  struct stat found {};
  const bool is_file =
      descriptor_ >= 0 && ::fstat(descriptor_, &found) == 0 && S_ISREG(found.st_mode);
  if (!is_file) {
    if (descriptor_ >= 0) ::close(descriptor_);
    throw HttpError(404, "not_found", "That file is gone.");
  }
  size_bytes_ = static_cast<uint64_t>(found.st_size);
}

OpenFile::~OpenFile() { ::close(descriptor_); }

std::string OpenFile::read(uint64_t offset, size_t size_bytes) const {
  std::string bytes(size_bytes, '\0');
  size_t done = 0;
  while (done < size_bytes) {
    const ssize_t count = ::pread(descriptor_, bytes.data() + done, size_bytes - done,
                                  static_cast<off_t>(offset + done));
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) break;
    done += static_cast<size_t>(count);
  }
  bytes.resize(done);
  return bytes;
}

ByteRange parse_byte_range(std::string_view range, uint64_t size) {
  constexpr std::string_view kUnit = "bytes=";
  const size_t dash = range.find('-');
  if (!range.starts_with(kUnit) || dash == range.npos) return {};
  const std::string_view before = range.substr(kUnit.size(), dash - kUnit.size());
  const std::string_view after = range.substr(dash + 1);
  const auto first = whole_number(before), last = whole_number(after);
  if ((!before.empty() && !first) || (!after.empty() && !last)) return {};  // or several ranges
  if (!first && !last) return {};
  if (!first) {  // the last bytes
    if (*last == 0 || size == 0) return {.kind = ByteRange::Kind::kUnsatisfiable};
    return {ByteRange::Kind::kPart, size - std::min(*last, size), size - 1};
  }
  if (last && *last < *first) return {};
  if (*first >= size) return {.kind = ByteRange::Kind::kUnsatisfiable};
  return {ByteRange::Kind::kPart, *first, last ? std::min(*last, size - 1) : size - 1};
}

bool etag_matches(std::string_view if_none_match, std::string_view etag) {
  if (etag.size() < 2) return false;
  const std::string plain(etag);
  while (!if_none_match.empty()) {
    const size_t end = std::min(if_none_match.find(','), if_none_match.size());
    std::string_view item = if_none_match.substr(0, end);
    item.remove_prefix(std::min(item.find_first_not_of(" \t"), item.size()));
    item = item.substr(0, item.find_last_not_of(" \t") + 1);
    if (item.starts_with("W/")) item.remove_prefix(2);
    if (item == "*" || item == plain || item == gzip_etag(plain)) return true;
    if_none_match.remove_prefix(std::min(end + 1, if_none_match.size()));
  }
  return false;
}

HttpPayload make_payload(const HttpRequest& request, HttpResponse response, GzipCache& cache) {
  HttpPayload payload;
  payload.status = response.status;
  set_body(payload, response);
  const bool is_read = request.method == HttpMethod::kGet || request.method == HttpMethod::kHead;
  const std::string* const known = find_header(request.headers, "If-None-Match");
  const bool is_known =
      is_read && response.status == 200 && known != nullptr && etag_matches(*known, response.etag);
  compress(payload, request, response, cache);
  if (is_known) {
    payload.status = 304;
  } else if (is_read && response.status == 200 && !response.etag.empty()) {
    choose_range(payload, request, response);
  }
  if (!response.etag.empty()) payload.headers.emplace_back("ETag", response.etag);
  if (!response.media_type.empty() && payload.status != 304) {
    payload.headers.emplace_back("Content-Type", response.media_type);
  }
  payload.headers.insert(payload.headers.end(), response.headers.begin(), response.headers.end());
  payload.has_body =
      request.method != HttpMethod::kHead && payload.status != 204 && payload.status != 304;
  return payload;
}

}  // namespace ddpm
