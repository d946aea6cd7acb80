#include "ddpm/serving/http/http_origin.h"

#include <algorithm>
#include <stdexcept>

namespace ddpm {
namespace {

constexpr std::string_view kHostLetters =
    "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._:[]";

/// "example.org" of "example.org:80", "::1" of "[::1]:80".
std::string_view name_of(std::string_view host) {
  if (host.starts_with('[')) return host.substr(1, std::min(host.find(']'), host.size()) - 1);
  return host.substr(0, host.find(':'));
}

/// "host:port" of an origin; empty if it is none ("null").
std::string_view host_of(std::string_view origin) {
  const size_t at = origin.find("://");
  return at == origin.npos ? std::string_view() : origin.substr(at + 3);
}

bool is_sound_origin(const std::string& origin) {
  if (origin == "*") return true;
  const std::string_view host = host_of(origin);
  return (origin.starts_with("http://") || origin.starts_with("https://")) && !host.empty() &&
         host.find_first_not_of(kHostLetters) == host.npos;
}

}  // namespace

HttpOriginPolicy::HttpOriginPolicy(std::vector<std::string> origins, std::vector<std::string> hosts)
    : origins_(std::move(origins)), hosts_(std::move(hosts)) {
  for (const std::string& origin : origins_) {
    if (!is_sound_origin(origin)) {
      throw std::invalid_argument(
          "[HttpOriginPolicy] origin: expected http(s)://host[:port] or *, got '" + origin + "'");
    }
  }
}

void HttpOriginPolicy::check_host(const std::string& host) const {
  if (host.empty() || host.find_first_not_of(kHostLetters) != host.npos) {
    throw HttpError(400, "invalid_request", "The Host field is missing or malformed.");
  }
  const std::string_view name = name_of(host);
  const bool is_ours =
      hosts_.empty() || std::any_of(hosts_.begin(), hosts_.end(), [&](const std::string& ours) {
        return equal_ignoring_case(ours, name);
      });
  if (!is_ours) throw HttpError(421, "forbidden", "This server doesn't go by that host name.");
}

bool HttpOriginPolicy::allows(std::string_view origin) const {
  return std::any_of(origins_.begin(), origins_.end(), [&](const std::string& allowed) {
    return allowed == "*" ? origin != "null" : equal_ignoring_case(allowed, origin);
  });
}

void HttpOriginPolicy::check_origin(const HttpHeaders& headers) const {
  const std::string* const origin = find_header(headers, "Origin");
  if (origin == nullptr) return;  // no browser, or a page of ours in an old one
  const std::string* const host = find_header(headers, "Host");
  const bool is_own = host != nullptr && equal_ignoring_case(host_of(*origin), *host);
  if (!is_own && !allows(*origin)) {
    throw HttpError(403, "forbidden", "Pages of that origin may not call this server.");
  }
}

HttpHeaders HttpOriginPolicy::cors_fields(const HttpHeaders& request) const {
  if (origins_.empty()) return {};
  HttpHeaders fields{{"Vary", "Origin"}};
  const std::string* const origin = find_header(request, "Origin");
  if (origin == nullptr || !allows(*origin)) return fields;
  fields.emplace_back("Access-Control-Allow-Origin", *origin);
  fields.emplace_back("Access-Control-Expose-Headers",
                      "ETag, Location, Retry-After, X-Request-Id, X-Seed");
  return fields;
}

HttpHeaders HttpOriginPolicy::preflight_fields(const HttpHeaders& request,
                                               const std::string& allow) const {
  HttpHeaders fields = cors_fields(request);
  if (find_header(fields, "Access-Control-Allow-Origin") == nullptr) return {};
  fields.emplace_back("Access-Control-Allow-Methods", allow);
  fields.emplace_back("Access-Control-Allow-Headers",
                      "authorization, content-type, idempotency-key, last-event-id, traceparent, "
                      "x-api-key, x-gradio-user, x-hf-authorization, x-request-id");
  fields.emplace_back("Access-Control-Max-Age", "600");
  return fields;
}

}  // namespace ddpm
