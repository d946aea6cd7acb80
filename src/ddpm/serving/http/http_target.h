#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace ddpm {

/// A request target in origin form, "/v1/jobs?limit=5", decoded.
struct HttpTarget {
  std::string path;                   ///< "/v1/jobs"
  std::vector<std::string> segments;  ///< {"v1", "jobs"}; {""} for "/"
  std::map<std::string, std::string> query;
};

/// Splits at '/' first and decodes then, so that a decoded '/' can't change the structure.
/// @throws HttpError 400: not starting with '/', a '%' without two hex digits, a segment "." or
///         "..", a decoded '/', '\\' or control character, text that isn't UTF-8, a query name
///         given twice or more than 64 of them; 414: longer than `max_bytes`.
HttpTarget parse_http_target(std::string_view target, size_t max_bytes = 4096);

/// %41 to A; with `form` also + to a space.
/// @throws HttpError 400 as above, except for '/' and '\\' where `form`.
std::string decode_percent(std::string_view text, bool form);

/// Whether bytes are well-formed UTF-8 [RFC 3629]: shortest forms, no surrogates, up to U+10FFFF.
bool is_utf8(std::string_view bytes);

}  // namespace ddpm
