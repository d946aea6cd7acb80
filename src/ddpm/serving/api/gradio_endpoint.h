#pragma once

#include <nlohmann/json_fwd.hpp>

#include <string>

#include "ddpm/serving/api/service.h"
#include "ddpm/serving/http/http_message.h"
#include "ddpm/serving/jobs/job.h"

namespace ddpm {

/// Where Gradio's routes lie since its version 5; clients of version 4 ask without it.
inline constexpr const char* kGradioPrefix = "/gradio_api";

/// The one function that Gradio's clients see:
///
///     /generate(model, n, seed, steps, sampler, class_name, guidance) -> (gallery, json)
///
/// Every parameter has a default. Its words and numbers are those of docs/http_api.md,
/// "Generation"; null, and "" for a word, mean the default.
inline constexpr const char* kGradioEndpoint = "generate";

/// GET /config: components, the function, and protocol sse_v3, without an address: clients take
/// that which they came by.
///
/// @param app_id changes when the server does.
nlohmann::json gradio_config(const Service& service, const std::string& app_id);

/// GET /gradio_api/info: names, types and defaults of the function's parameters.
nlohmann::json gradio_info(const Service& service);

/// The job that a call asks for: PNGs, with previews.
///
/// @param arguments [model, n, ..] as Gradio's clients send them, those at the end may be left out;
///                  or an object of named ones.
/// @throws HttpError 422 with `field` the parameter's name, or "data".
JobRequest parse_gradio_call(const Service& service, const nlohmann::json& arguments);

/// Errors as Gradio's clients expect them: what is wrong with a parameter is 422 with a list in
/// "detail" (text there makes the Python client crash), and a full queue is 503.
HttpResponse gradio_error_response(const HttpError& error);

}  // namespace ddpm
