#pragma once

#include <vector>

#include "ddpm/serving/http/http_router.h"
#include "ddpm/serving/site/site_files.h"

namespace ddpm {

/// `GET /` and every file of the site, for anyone: the page itself asks for the key. The page names
/// its parts behind '#', so it has no other paths. Without files `GET /` says that there is no page
/// and where the API is.
void add_site_routes(HttpRouter& router, const std::vector<SiteFile>& files = embedded_site());

}  // namespace ddpm
