#pragma once

#include "ddpm/serving/api/service.h"
#include "ddpm/serving/http/http_router.h"

namespace ddpm {

/// `POST /v1/edits/{inpaint|img2img|interpolate|superres|colorize}`: `ddpm edit` over HTTP, in
/// docs/http_api.md.
void add_edit_routes(HttpRouter& router, Service& service);

}  // namespace ddpm
