#pragma once

#include <nlohmann/json_fwd.hpp>

#include "ddpm/serving/api/service.h"
#include "ddpm/serving/http/http_router.h"

namespace ddpm {

/// The OpenAPI 3.1 document of the routes below /v1, and of /livez, /readyz and /metrics: every one
/// that the router has, with its parameters, key, body and answers.
nlohmann::json openapi_document(const HttpRouter& router, const Service& service);

/// `GET /openapi.json`, for anyone. Call it when all other routes are there.
void add_openapi_route(HttpRouter& router, const Service& service);

}  // namespace ddpm
