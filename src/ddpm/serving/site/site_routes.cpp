#include "ddpm/serving/site/site_routes.h"

#include <map>
#include <string>

#include "ddpm/serving/http/http_static_files.h"

namespace ddpm {
namespace {

constexpr const char* kNoSitePage =
    "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n<title>ddpm serve</title>\n"
    "<h1>ddpm serve</h1>\n<p>This build has the API alone: its page was left out, because npm or "
    "Node 20.19 was missing where it was built. With them, build again.</p>\n"
    "<p>The API begins at <code>/v1/models</code>; docs/http_api.md describes it.</p>\n</html>\n";

}  // namespace

void add_site_routes(HttpRouter& router, const std::vector<SiteFile>& files) {
  std::map<std::string, HttpStaticFile> served;
  for (const SiteFile& file : files) {
    served[std::string(file.name)] = {std::string(file.bytes), std::string(file.gzip)};
  }
  if (files.empty()) served["index.html"] = {kNoSitePage};
  HttpStaticFiles(std::move(served)).add_routes(router);
}

}  // namespace ddpm
