#pragma once

#include "ddpm/serving/api/service.h"
#include "ddpm/serving/http/http_router.h"

namespace ddpm {

/// What Gradio's clients of the versions 4 to 6 call, in Python and JavaScript (protocol sse_v3):
/// one function, /generate (gradio_endpoint.h). Each route lies below /gradio_api and, for version
/// 4, at the root.
///
/// Open without a key, because browsers and Gradio's JavaScript client send none there: /file=,
/// /cancel and /reset, which are of use only to who knows a job's id. `service` must outlive the
/// server.
void add_gradio_routes(HttpRouter& router, Service& service);

}  // namespace ddpm
