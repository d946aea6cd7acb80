#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace ddpm {

/// One part of a multipart/form-data body [RFC 7578].
struct MultipartPart {
  std::string name;
  std::optional<std::string> filename;  ///< what the client calls the file: never a path of ours
  std::string media_type;               ///< lower case, "text/plain" if absent
  std::string_view body;                ///< lies in the request's body
};

struct MultipartLimits {
  size_t max_parts = 64;
  size_t max_header_bytes = 4096;  ///< a part
};

/// The parts in their order. Strict: nothing before the first boundary, CRLF line ends.
///
/// @param content_type the request's Content-Type.
/// @param body         must outlive the parts.
/// @throws HttpError 415: not multipart/form-data; 400: malformed, a name given twice other than
///         for files, names that aren't UTF-8, or a transfer encoding; 413: too many parts.
std::vector<MultipartPart> parse_multipart(std::string_view content_type, std::string_view body,
                                           const MultipartLimits& limits = {});

}  // namespace ddpm
