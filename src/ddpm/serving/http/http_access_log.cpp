#include "ddpm/serving/http/http_access_log.h"

#include <algorithm>
#include <cstdio>
#include <random>

namespace ddpm {
namespace {

constexpr char kHexDigits[] = "0123456789abcdef";

bool is_id_letter(char letter) {
  return (letter >= 'a' && letter <= 'z') || (letter >= 'A' && letter <= 'Z') ||
         (letter >= '0' && letter <= '9') || letter == '.' || letter == '_' || letter == '-';
}

bool is_hex(std::string_view text) { return text.find_first_not_of(kHexDigits) == text.npos; }

bool is_zero(std::string_view text) { return text.find_first_not_of('0') == text.npos; }

}  // namespace

std::string quoted_for_log(std::string_view text, size_t max_bytes) {
  std::string quoted = "\"";
  for (const char letter : text.substr(0, max_bytes)) {
    const auto byte = static_cast<unsigned char>(letter);
    if (byte < 0x20 || byte >= 0x7f || letter == '"' || letter == '\\') {
      quoted += "\\x";
      quoted += kHexDigits[byte >> 4];
      quoted += kHexDigits[byte & 15];
    } else {
      quoted += letter;
    }
  }
  return quoted + (text.size() > max_bytes ? "...\"" : "\"");
}

std::string access_line(const HttpAccessRecord& record) {
  char numbers[96];
  std::snprintf(numbers, sizeof numbers, " status=%d bytes=%llu ms=%.1f", record.status,
                static_cast<unsigned long long>(record.sent_bytes), record.seconds * 1e3);
  std::string line = "http method=" + quoted_for_log(record.method, 16) +
                     " target=" + quoted_for_log(record.target) +
                     " route=" + quoted_for_log(record.route) + numbers +
                     " id=" + quoted_for_log(record.request_id) +
                     " from=" + quoted_for_log(record.remote_address);
  if (record.key >= 0) line += " key=" + std::to_string(record.key);
  if (!record.traceparent.empty()) line += " traceparent=" + quoted_for_log(record.traceparent);
  if (!record.ended.empty()) line += " ended=" + quoted_for_log(record.ended);
  return line;
}

std::string choose_request_id(const std::string* given) {
  const bool is_sound = given != nullptr && !given->empty() && given->size() <= 64 &&
                        std::all_of(given->begin(), given->end(), is_id_letter);
  if (is_sound) return *given;
  thread_local std::mt19937_64 random{std::random_device{}()};
  std::string id;
  uint64_t bits = random();
  for (int i = 0; i < 16; ++i, bits >>= 4) id += kHexDigits[bits & 15];
  return id;
}

std::string sound_traceparent(const std::string* given) {
  constexpr size_t kLength = 55;  // version-trace-span-flags: 2, 32, 16, 2 hex digits
  if (given == nullptr || given->size() != kLength) return {};
  const std::string_view text(*given);
  const std::string_view version = text.substr(0, 2), trace = text.substr(3, 32),
                         span = text.substr(36, 16), flags = text.substr(53);
  const bool is_sound = text[2] == '-' && text[35] == '-' && text[52] == '-' && is_hex(version) &&
                        version != "ff" && is_hex(trace) && !is_zero(trace) && is_hex(span) &&
                        !is_zero(span) && is_hex(flags);
  return is_sound ? *given : std::string();
}

}  // namespace ddpm
