#pragma once

#include <map>
#include <string>
#include <string_view>

namespace ddpm {

/// A field's value with parameters: "multipart/form-data; boundary=abc", "form-data; name=\"a\"".
struct HttpMediaType {
  std::string type;                               ///< lower case, no spaces around
  std::map<std::string, std::string> parameters;  ///< names in lower case
};

/// Quoted values are unquoted: \" becomes ", any other backslash stays, as browsers mean it.
/// @throws HttpError 400 if it is malformed, or a parameter is given twice.
HttpMediaType parse_media_type(std::string_view text);

}  // namespace ddpm
