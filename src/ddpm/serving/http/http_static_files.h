#pragma once

#include <map>
#include <string>
#include <string_view>

#include "ddpm/serving/http/http_message.h"
#include "ddpm/serving/http/http_router.h"

namespace ddpm {

/// "text/html; charset=utf-8" of "index.html"; application/octet-stream for what isn't known.
std::string media_type_of(std::string_view file_name);

/// A file's bytes, and the same compressed where that was done before.
struct HttpStaticFile {
  std::string bytes;
  std::string gzip = {};
};

/// Files of the page, held in memory. Each has an ETag made from its bytes, so it is sent again
/// only if it changed; names under assets/ carry a hash themselves and may be kept for good.
class HttpStaticFiles {
 public:
  /// @param files by their path in the site, "index.html", "assets/app-1a2b.js".
  explicit HttpStaticFiles(std::map<std::string, HttpStaticFile> files);

  /// @throws HttpError 404 if there is no such file.
  HttpResponse get(const std::string& name) const;

  /// One public GET route a file; index.html also answers "/". The router's handlers share the
  /// files.
  void add_routes(HttpRouter& router) const;

 private:
  struct File {
    SharedBytes bytes;
    SharedBytes gzip;
    std::string etag;
  };
  std::map<std::string, File> files_;
};

}  // namespace ddpm
