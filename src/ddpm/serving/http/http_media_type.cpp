#include "ddpm/serving/http/http_media_type.h"

#include <algorithm>

#include "ddpm/serving/http/http_message.h"

namespace ddpm {
namespace {

constexpr std::string_view kBlanks = " \t";

[[noreturn]] void refuse_media_type() {
  throw HttpError(400, "invalid_request", "A field with parameters is malformed.");
}

std::string_view trimmed(std::string_view text) {
  text.remove_prefix(std::min(text.find_first_not_of(kBlanks), text.size()));
  return text.substr(0, text.find_last_not_of(kBlanks) + 1);
}

std::string lower_case(std::string_view text) {
  std::string lower(text);
  for (char& letter : lower) {
    if (letter >= 'A' && letter <= 'Z') letter = static_cast<char>(letter - 'A' + 'a');
  }
  return lower;
}

/// Takes a quoted string from the front of `rest`, which starts with its quote.
std::string take_quoted(std::string_view& rest) {
  std::string value;
  for (size_t i = 1; i < rest.size(); ++i) {
    if (rest[i] == '"') {
      rest.remove_prefix(i + 1);
      return value;
    }
    if (rest[i] == '\\' && i + 1 < rest.size() && rest[i + 1] == '"') ++i;
    value += rest[i];
  }
  refuse_media_type();
}

std::string take_token(std::string_view& rest) {
  const size_t end = std::min(rest.find(';'), rest.size());
  const std::string value(trimmed(rest.substr(0, end)));
  rest.remove_prefix(end);
  return value;
}

}  // namespace

HttpMediaType parse_media_type(std::string_view text) {
  HttpMediaType parsed;
  const size_t first = std::min(text.find(';'), text.size());
  parsed.type = lower_case(trimmed(text.substr(0, first)));
  if (parsed.type.empty()) refuse_media_type();
  std::string_view rest = text.substr(first);
  while (!(rest = trimmed(rest)).empty()) {
    if (rest[0] != ';') refuse_media_type();
    rest = trimmed(rest.substr(1));
    if (rest.empty()) break;  // a ';' at the end is common
    const size_t equals = rest.find('=');
    if (equals == rest.npos || equals == 0) refuse_media_type();
    std::string name = lower_case(trimmed(rest.substr(0, equals)));
    if (name.find(';') != name.npos) refuse_media_type();
    rest = trimmed(rest.substr(equals + 1));
    const bool is_quoted = !rest.empty() && rest[0] == '"';
    std::string value = is_quoted ? take_quoted(rest) : take_token(rest);
    if (!parsed.parameters.emplace(std::move(name), std::move(value)).second) refuse_media_type();
  }
  return parsed;
}

}  // namespace ddpm
