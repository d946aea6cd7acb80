#include "ddpm/serving/http/http_router.h"

#include <algorithm>
#include <stdexcept>

namespace ddpm {
namespace {

[[noreturn]] void refuse_route(const std::string& rule, const std::string& pattern) {
  throw std::invalid_argument("[HttpRouter] " + rule + ", got '" + pattern + "'");
}

HttpLaterHandler answer_at_once(HttpHandler handler) {
  return [handler = std::move(handler)](const std::shared_ptr<const HttpRequest>& request,
                                        const HttpResponder& responder) {
    responder.send(handler(*request));
  };
}

}  // namespace

void HttpRouter::add(HttpMethod method, const std::string& pattern, HttpAccess access,
                     HttpHandler handler) {
  add({.method = method,
       .pattern = pattern,
       .access = access,
       .handler = answer_at_once(std::move(handler))});
}

void HttpRouter::add_json(const std::string& pattern, HttpAccess access, HttpHandler handler) {
  add({.method = HttpMethod::kPost,
       .pattern = pattern,
       .access = access,
       .handler = answer_at_once(std::move(handler)),
       .max_body_bytes = kJsonBodyBytes,
       .media_types = {"application/json"}});
}

void HttpRouter::add(HttpRoute route) {
  if (!route.handler) refuse_route("handler: expected one", route.pattern);
  std::vector<Segment> pattern = parse_pattern(route.pattern);
  for (size_t i = 0; i < routes_.size(); ++i) {
    if (routes_[i].method == route.method && rank(patterns_[i]) == rank(pattern)) {
      refuse_route("route: expected one that isn't there yet", route.pattern);
    }
  }
  if (route.max_body_bytes > 0 && route.media_types.empty()) {
    route.media_types = {"application/json"};
  }
  routes_.push_back(std::move(route));
  patterns_.push_back(std::move(pattern));
}

std::vector<HttpRouter::Segment> HttpRouter::parse_pattern(const std::string& pattern) {
  if (pattern.empty() || pattern[0] != '/')
    refuse_route("pattern: expected a leading '/'", pattern);
  std::vector<Segment> segments;
  for (size_t at = 0; at < pattern.size();) {
    const size_t end = std::min(pattern.find('/', at + 1), pattern.size());
    const std::string text = pattern.substr(at + 1, end - at - 1);
    at = end;
    const size_t open = text.find('{');
    const size_t close = text.find('}');
    if (open == text.npos && close == text.npos) {
      segments.push_back({.before = text});
      continue;
    }
    if (open == text.npos || close == text.npos || close < open + 2 ||
        text.find('{', open + 1) != text.npos || text.find('}', close + 1) != text.npos) {
      refuse_route("pattern: expected at most one {name} a segment", pattern);
    }
    Segment segment{.before = text.substr(0, open),
                    .name = text.substr(open + 1, close - open - 1),
                    .after = text.substr(close + 1)};
    if (segment.name.ends_with("...")) {
      segment.name.resize(segment.name.size() - 3);
      segment.takes_rest = true;
      if (at < pattern.size() || !segment.after.empty() || segment.name.empty()) {
        refuse_route("pattern: expected {name...} at the end", pattern);
      }
    }
    segments.push_back(std::move(segment));
  }
  return segments;
}

bool HttpRouter::fits(const std::vector<Segment>& pattern, const std::vector<std::string>& segments,
                      std::map<std::string, std::string>& parameters) {
  const bool takes_rest = pattern.back().takes_rest;
  if (takes_rest ? segments.size() < pattern.size() : segments.size() != pattern.size()) {
    return false;
  }
  for (size_t i = 0; i < pattern.size(); ++i) {
    const Segment& expected = pattern[i];
    std::string text = segments[i];
    if (expected.name.empty()) {
      if (text != expected.before) return false;
      continue;
    }
    if (expected.takes_rest) {
      for (size_t k = i + 1; k < segments.size(); ++k) text += "/" + segments[k];
    }
    const size_t around = expected.before.size() + expected.after.size();
    if (text.size() <= around || !text.starts_with(expected.before) ||
        !text.ends_with(expected.after)) {
      return false;
    }
    parameters[expected.name] = text.substr(expected.before.size(), text.size() - around);
  }
  return true;
}

/// Sorts before that of a less literal pattern; equal if the same paths fit.
std::string HttpRouter::rank(const std::vector<Segment>& pattern) {
  std::string rank;
  for (const Segment& segment : pattern) {
    const bool has_text = !segment.before.empty() || !segment.after.empty();
    const char kind = segment.name.empty() ? 'a' : segment.takes_rest ? 'd' : has_text ? 'b' : 'c';
    rank += kind + segment.before + "{}" + segment.after + "/";
  }
  return rank;
}

HttpRouter::Match HttpRouter::find(HttpMethod method,
                                   const std::vector<std::string>& segments) const {
  Match match;
  std::string best;
  bool allows_get = false, allows_head = false;
  for (size_t i = 0; i < routes_.size(); ++i) {
    std::map<std::string, std::string> parameters;
    if (!fits(patterns_[i], segments, parameters)) continue;
    const HttpMethod own = routes_[i].method;
    const std::string name(http_method_name(own));
    if (match.allow.find(name) == match.allow.npos) {
      match.allow += (match.allow.empty() ? "" : ", ") + name;
    }
    allows_get |= own == HttpMethod::kGet;
    allows_head |= own == HttpMethod::kHead;
    const bool answers_head = method == HttpMethod::kHead && own == HttpMethod::kGet;
    if (own != method && !answers_head) continue;
    const std::string candidate = rank(patterns_[i]) + (answers_head ? "~" : "");
    if (match.route != nullptr && best <= candidate) continue;
    best = candidate;
    match.route = &routes_[i];
    match.parameters = std::move(parameters);
  }
  if (allows_get && !allows_head) match.allow += ", HEAD";
  return match;
}

}  // namespace ddpm
