#include "ddpm/serving/http/http_response_head.h"

#include <algorithm>
#include <cstdio>
#include <stdexcept>

namespace ddpm {
namespace {

constexpr char kDays[][4] = {"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"};
constexpr char kMonths[][4] = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                               "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};

bool ends_line(char letter) {
  return (letter >= 0 && letter < ' ' && letter != '\t') || letter == '\x7f';
}

void add_field(std::string& head, std::string_view name, std::string_view value) {
  constexpr std::string_view kNotInNames = ": \t";
  if (name.empty() || name.find_first_of(kNotInNames) != name.npos ||
      std::any_of(name.begin(), name.end(), ends_line) ||
      std::any_of(value.begin(), value.end(), ends_line)) {
    throw std::invalid_argument("[response_head] field: expected one line, got more");
  }
  head.append(name).append(": ").append(value).append("\r\n");
}

void add_length(std::string& head, const HttpPayload& payload, const HttpResponseContext& context) {
  if (payload.status == 204 || payload.status == 304) return;
  if (!payload.stream.stream) {
    add_field(head, "Content-Length", std::to_string(payload.length));
  } else if (!context.is_http_1_0) {
    add_field(head, "Transfer-Encoding", "chunked");
  }
}

void add_safety(std::string& head, const HttpPayload& payload, const std::string& page_policy) {
  const std::string* const type = find_header(payload.headers, "Content-Type");
  const bool is_page = type != nullptr && type->starts_with("text/html");
  add_field(head, "X-Content-Type-Options", "nosniff");
  add_field(head, "X-Frame-Options", "DENY");
  add_field(head, "Referrer-Policy", "no-referrer");
  if (find_header(payload.headers, "Cross-Origin-Resource-Policy") == nullptr) {
    add_field(head, "Cross-Origin-Resource-Policy", "same-origin");
  }
  // A browser gives the page that it keeps the fields of a 304, which has no type to choose by.
  if (payload.status == 304) return;
  if (find_header(payload.headers, "Content-Security-Policy") == nullptr) {
    add_field(head, "Content-Security-Policy",
              is_page ? page_policy : "default-src 'none'; frame-ancestors 'none'; sandbox");
  }
}

}  // namespace

std::string http_date(std::time_t when) {
  std::tm parts{};
  gmtime_r(&when, &parts);
  char text[64];
  std::snprintf(text, sizeof text, "%s, %02d %s %04d %02d:%02d:%02d GMT", kDays[parts.tm_wday],
                parts.tm_mday, kMonths[parts.tm_mon], parts.tm_year + 1900, parts.tm_hour,
                parts.tm_min, parts.tm_sec);
  return text;
}

std::string response_head(const HttpPayload& payload, const HttpResponseContext& context) {
  std::string head = "HTTP/1.1 " + std::to_string(payload.status) + " ";
  head.append(http_reason(payload.status)).append("\r\n");
  add_field(head, "Date", http_date(std::time(nullptr)));
  add_length(head, payload, context);
  for (const auto& [name, value] : payload.headers) add_field(head, name, value);
  for (const auto& [name, value] : context.cors) add_field(head, name, value);
  add_safety(head, payload, context.page_policy);
  if (find_header(payload.headers, "Cache-Control") == nullptr) {
    add_field(head, "Cache-Control", "no-store");
  }
  add_field(head, "X-Request-Id", context.request_id);
  if (!context.keep_alive) {
    add_field(head, "Connection", "close");
  } else if (context.is_http_1_0) {
    add_field(head, "Connection", "keep-alive");
  }
  return head + "\r\n";
}

}  // namespace ddpm
