#include "ddpm/serving/http/http_static_files.h"

#include <algorithm>
#include <cstdio>

namespace ddpm {
namespace {

constexpr std::pair<std::string_view, std::string_view> kFileTypes[] = {
    {".html", "text/html; charset=utf-8"},
    {".js", "text/javascript; charset=utf-8"},
    {".css", "text/css; charset=utf-8"},
    {".json", "application/json"},
    {".webmanifest", "application/manifest+json"},
    {".svg", "image/svg+xml"},
    {".png", "image/png"},
    {".jpg", "image/jpeg"},
    {".webp", "image/webp"},
    {".ico", "image/x-icon"},
    {".woff2", "font/woff2"},
    {".txt", "text/plain; charset=utf-8"},
};

/// FNV-1a [Fowler, Noll, Vo], 64 bits: tells versions of our own files apart, nothing more.
std::string etag_of(std::string_view bytes) {
  uint64_t hash = 0xcbf29ce484222325;
  for (const char byte : bytes) hash = (hash ^ static_cast<unsigned char>(byte)) * 0x100000001b3;
  char text[32];
  std::snprintf(text, sizeof text, "\"%016llx\"", static_cast<unsigned long long>(hash));
  return text;
}

}  // namespace

std::string media_type_of(std::string_view file_name) {
  const auto* const found =
      std::find_if(std::begin(kFileTypes), std::end(kFileTypes),
                   [&](const auto& type) { return file_name.ends_with(type.first); });
  return std::string(found == std::end(kFileTypes) ? "application/octet-stream" : found->second);
}

HttpStaticFiles::HttpStaticFiles(std::map<std::string, HttpStaticFile> files) {
  for (auto& [name, file] : files) {
    File& kept = files_[name];
    kept.etag = etag_of(file.bytes);
    kept.bytes = std::make_shared<const std::string>(std::move(file.bytes));
    if (file.gzip.empty()) continue;
    kept.gzip = std::make_shared<const std::string>(std::move(file.gzip));
  }
}

HttpResponse HttpStaticFiles::get(const std::string& name) const {
  const auto found = files_.find(name);
  if (found == files_.end()) throw HttpError(404, "not_found", "There is nothing at this path.");
  const bool is_kept = name.starts_with("assets/");
  return {
      .headers = {{"Cache-Control", is_kept ? "public, max-age=31536000, immutable" : "no-cache"}},
      .body = found->second.bytes,
      .media_type = media_type_of(name),
      .etag = found->second.etag,
      .gzip = found->second.gzip};
}

void HttpStaticFiles::add_routes(HttpRouter& router) const {
  const auto add = [&](const std::string& pattern, const std::string& name) {
    router.add(HttpMethod::kGet, pattern, HttpAccess::kPublic,
               [response = get(name)](const HttpRequest&) { return response; });
  };
  for (const auto& [name, file] : files_) {
    add("/" + name, name);
    if (name == "index.html") add("/", name);
  }
}

}  // namespace ddpm
