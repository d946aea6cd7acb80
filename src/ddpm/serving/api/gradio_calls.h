#pragma once

#include <nlohmann/json_fwd.hpp>

#include <string>

#include "ddpm/serving/api/service.h"
#include "ddpm/serving/http/http_router.h"

namespace ddpm {

/// Gradio's routes for who has no client of Gradio's, such as curl:
///
///     POST PREFIX/call/generate {"data":[..]}, PREFIX/call/v2/generate {"n":4}  -> {"event_id"}
///     GET  PREFIX/call/generate/EVENT_ID     server-sent events generating, complete, error
///     POST PREFIX/run/generate, PREFIX/api/generate {"data":[..]}  -> {"data":[..],"duration"}
///
/// An event's id is its job's. `service` must outlive the server.
void add_gradio_call_routes(HttpRouter& router, Service& service, const std::string& prefix);

/// The member "data" of a call's body.
///
/// @throws HttpError 400 if the body isn't a JSON object.
nlohmann::json gradio_data(const HttpRequest& request);

/// A handler whose HttpErrors are answered as gradio_error_response() says.
HttpLaterHandler as_gradio(HttpLaterHandler handler);

}  // namespace ddpm
