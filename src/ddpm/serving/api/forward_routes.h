#pragma once

#include "ddpm/serving/http/http_router.h"

namespace ddpm {

/// `POST /v1/forward`: what the forward process makes of a client's image, in docs/http_api.md.
/// It needs no model.
void add_forward_routes(HttpRouter& router);

}  // namespace ddpm
