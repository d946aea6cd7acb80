#include "ddpm/serving/http/http_target.h"

#include <algorithm>

#include "ddpm/serving/http/http_message.h"

namespace ddpm {
namespace {

constexpr size_t kMaxQueryNames = 64;

[[noreturn]] void refuse_target(const std::string& message) {
  throw HttpError(400, "invalid_request", message);
}

int hex_value(char letter) {
  if (letter >= '0' && letter <= '9') return letter - '0';
  if (letter >= 'a' && letter <= 'f') return letter - 'a' + 10;
  if (letter >= 'A' && letter <= 'F') return letter - 'A' + 10;
  return -1;
}

bool is_control_byte(char letter) {
  return static_cast<unsigned char>(letter) < 0x20 || letter == '\x7f';
}

void check_segment(const std::string& segment) {
  if (segment == "." || segment == "..") refuse_target("The path has a segment '.' or '..'.");
}

std::map<std::string, std::string> parse_query(std::string_view text) {
  std::map<std::string, std::string> query;
  while (!text.empty()) {
    const size_t end = std::min(text.find('&'), text.size());
    const std::string_view item = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    if (item.empty()) continue;
    const size_t equals = std::min(item.find('='), item.size());
    std::string name = decode_percent(item.substr(0, equals), true);
    std::string value = decode_percent(item.substr(std::min(equals + 1, item.size())), true);
    if (query.size() == kMaxQueryNames) refuse_target("The query has more than 64 names.");
    if (!query.emplace(std::move(name), std::move(value)).second) {
      refuse_target("The query gives a name twice.");
    }
  }
  return query;
}

/// Bytes of the character that `lead` starts, 0 if none does; `least` is its smallest code point.
size_t utf8_length(unsigned char lead, uint32_t& code, uint32_t& least) {
  if (lead < 0x80) return code = lead, least = 0, 1;
  if (lead >= 0xC2 && lead <= 0xDF) return code = lead & 0x1F, least = 0x80, 2;
  if ((lead & 0xF0) == 0xE0) return code = lead & 0x0F, least = 0x800, 3;
  if (lead >= 0xF0 && lead <= 0xF4) return code = lead & 0x07, least = 0x10000, 4;
  return 0;
}

}  // namespace

bool is_utf8(std::string_view bytes) {
  for (size_t i = 0; i < bytes.size();) {
    uint32_t code = 0, least = 0;
    const size_t length = utf8_length(static_cast<unsigned char>(bytes[i]), code, least);
    if (length == 0 || length > bytes.size() - i) return false;
    for (size_t k = 1; k < length; ++k) {
      const auto next = static_cast<unsigned char>(bytes[i + k]);
      if ((next & 0xC0) != 0x80) return false;
      code = (code << 6) | (next & 0x3F);
    }
    if (code < least || code > 0x10FFFF || (code >= 0xD800 && code <= 0xDFFF)) return false;
    i += length;
  }
  return true;
}

std::string decode_percent(std::string_view text, bool form) {
  std::string decoded;
  decoded.reserve(text.size());
  for (size_t i = 0; i < text.size(); ++i) {
    char letter = text[i];
    if (letter == '%') {
      const int high = i + 2 < text.size() ? hex_value(text[i + 1]) : -1;
      const int low = i + 2 < text.size() ? hex_value(text[i + 2]) : -1;
      if (high < 0 || low < 0) refuse_target("A '%' in the target lacks two hex digits.");
      letter = static_cast<char>(high * 16 + low);
      i += 2;
    } else if (letter == '+' && form) {
      letter = ' ';
    }
    const bool separates = !form && (letter == '/' || letter == '\\');
    if (separates || is_control_byte(letter)) refuse_target("The target hides a character.");
    decoded += letter;
  }
  if (!is_utf8(decoded)) refuse_target("The target isn't UTF-8.");
  return decoded;
}

HttpTarget parse_http_target(std::string_view target, size_t max_bytes) {
  if (target.size() > max_bytes) {
    throw HttpError(414, "too_large",
                    "The target is longer than " + std::to_string(max_bytes) + " bytes.");
  }
  if (target.empty() || target[0] != '/') refuse_target("The target doesn't start with '/'.");
  if (target.find('#') != target.npos) refuse_target("The target has a '#'.");
  HttpTarget parsed;
  const size_t question = std::min(target.find('?'), target.size());
  parsed.query = parse_query(target.substr(std::min(question + 1, target.size())));
  std::string_view path = target.substr(0, question);
  while (!path.empty()) {
    path.remove_prefix(1);  // the '/'
    const size_t end = std::min(path.find('/'), path.size());
    parsed.segments.push_back(decode_percent(path.substr(0, end), false));
    check_segment(parsed.segments.back());
    parsed.path += "/" + parsed.segments.back();
    path.remove_prefix(end);
  }
  return parsed;
}

}  // namespace ddpm
