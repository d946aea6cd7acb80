#include "ddpm/serving/http/http_multipart.h"

#include <algorithm>

#include "ddpm/serving/http/http_media_type.h"
#include "ddpm/serving/http/http_message.h"
#include "ddpm/serving/http/http_target.h"

namespace ddpm {
namespace {

constexpr std::string_view kLineEnd = "\r\n";
constexpr std::string_view kBoundaryLetters =
    "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz'()+_,-./:=? ";

[[noreturn]] void refuse_multipart(const std::string& message) {
  throw HttpError(400, "invalid_request", "The multipart body " + message + ".");
}

std::string boundary_of(std::string_view content_type) {
  const HttpMediaType type = parse_media_type(content_type);
  if (type.type != "multipart/form-data") {
    throw HttpError(415, "invalid_request", "Expected a body of type multipart/form-data.");
  }
  const auto found = type.parameters.find("boundary");
  if (found == type.parameters.end()) refuse_multipart("has no boundary");
  const std::string& boundary = found->second;
  const bool is_sound = !boundary.empty() && boundary.size() <= 70 && boundary.back() != ' ' &&
                        boundary.find_first_not_of(kBoundaryLetters) == boundary.npos;
  if (!is_sound) refuse_multipart("has a malformed boundary");
  return boundary;
}

/// Takes `expected` from the front of `rest`, or says that it isn't there.
bool take(std::string_view& rest, std::string_view expected) {
  if (!rest.starts_with(expected)) return false;
  rest.remove_prefix(expected.size());
  return true;
}

std::string_view take_until(std::string_view& rest, std::string_view end) {
  const size_t at = rest.find(end);
  if (at == rest.npos) refuse_multipart("ends early");
  const std::string_view taken = rest.substr(0, at);
  rest.remove_prefix(at + end.size());
  return taken;
}

void read_disposition(MultipartPart& part, std::string_view value) {
  const HttpMediaType disposition = parse_media_type(value);
  const auto name = disposition.parameters.find("name");
  if (disposition.type != "form-data" || name == disposition.parameters.end()) {
    refuse_multipart("has a part without a name");
  }
  part.name = name->second;
  const auto filename = disposition.parameters.find("filename");
  if (filename != disposition.parameters.end()) part.filename = filename->second;
  if (!is_utf8(part.name) || !is_utf8(part.filename.value_or(""))) {
    refuse_multipart("has a name that isn't UTF-8");
  }
}

void read_part_field(MultipartPart& part, std::string_view line) {
  const size_t colon = line.find(':');
  if (colon == line.npos || line.find('\n') != line.npos) refuse_multipart("has a malformed field");
  const std::string_view name = line.substr(0, colon);
  const std::string_view value = line.substr(colon + 1);
  if (equal_ignoring_case(name, "Content-Disposition")) {
    if (!part.name.empty()) refuse_multipart("names a part twice");
    read_disposition(part, value);
  } else if (equal_ignoring_case(name, "Content-Type")) {
    part.media_type = parse_media_type(value).type;
  } else if (equal_ignoring_case(name, "Content-Transfer-Encoding")) {
    const std::string encoding = parse_media_type(value).type;
    if (encoding != "binary" && encoding != "8bit" && encoding != "7bit") {
      refuse_multipart("has a part in a transfer encoding");
    }
  }
}

MultipartPart read_part_header(std::string_view& rest, size_t max_bytes) {
  MultipartPart part;
  part.media_type = "text/plain";
  std::string_view left = rest.substr(0, max_bytes);
  for (;;) {
    const std::string_view line = take_until(left, kLineEnd);
    if (line.empty()) break;
    read_part_field(part, line);
  }
  if (part.name.empty()) refuse_multipart("has a part without a name");
  rest.remove_prefix(static_cast<size_t>(left.data() - rest.data()));
  return part;
}

bool is_repeated(const std::vector<MultipartPart>& parts, const MultipartPart& added) {
  if (added.filename) return false;  // one field may hold several files
  return std::any_of(parts.begin(), parts.end(),
                     [&](const MultipartPart& part) { return part.name == added.name; });
}

}  // namespace

std::vector<MultipartPart> parse_multipart(std::string_view content_type, std::string_view body,
                                           const MultipartLimits& limits) {
  const std::string delimiter = "--" + boundary_of(content_type);
  const std::string end_of_part = std::string(kLineEnd) + delimiter;
  std::vector<MultipartPart> parts;
  std::string_view rest = body;
  if (!take(rest, delimiter)) refuse_multipart("doesn't start with its boundary");
  while (!take(rest, "--")) {
    if (!take(rest, kLineEnd)) refuse_multipart("has a malformed boundary line");
    if (parts.size() == limits.max_parts) {
      throw HttpError(413, "too_large",
                      "The multipart body has too many parts: at most " +
                          std::to_string(limits.max_parts) + ".");
    }
    MultipartPart part = read_part_header(rest, limits.max_header_bytes);
    part.body = take_until(rest, end_of_part);
    if (is_repeated(parts, part)) refuse_multipart("gives a name twice");
    parts.push_back(std::move(part));
  }
  return parts;
}

}  // namespace ddpm
