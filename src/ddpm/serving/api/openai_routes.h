#pragma once

#include "ddpm/serving/api/service.h"
#include "ddpm/serving/http/http_router.h"

namespace ddpm {

/// POST /v1/images/generations as OpenAI's clients call it, streamed or not; the models are at
/// /v1/models. `service` must outlive the server.
void add_openai_routes(HttpRouter& router, Service& service);

}  // namespace ddpm
