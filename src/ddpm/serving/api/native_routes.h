#pragma once

#include "ddpm/serving/api/service.h"
#include "ddpm/serving/http/http_router.h"

namespace ddpm {

/// /v1/models, /v1/capabilities, /v1/jobs and /v1/generate: docs/http_api.md. `service` must
/// outlive the server.
void add_native_routes(HttpRouter& router, Service& service);

// Its parts.

/// GET /v1/models, /v1/models/{id}, /v1/capabilities.
void add_model_routes(HttpRouter& router, Service& service);
/// POST and GET /v1/jobs, GET and DELETE /v1/jobs/{id}.
void add_job_routes(HttpRouter& router, Service& service);
/// GET /v1/jobs/{id}/images/{index} and /v1/jobs/{id}/trace/{frame}/{picture}.png.
void add_result_routes(HttpRouter& router, Service& service);
/// GET /v1/jobs/{id}/events.
void add_event_routes(HttpRouter& router, Service& service);
/// POST /v1/generate.
void add_generate_route(HttpRouter& router, Service& service);

}  // namespace ddpm
