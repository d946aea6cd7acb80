#pragma once

#include <nlohmann/json_fwd.hpp>

#include <cstdint>
#include <string>

#include "ddpm/serving/api/service.h"
#include "ddpm/serving/http/http_message.h"
#include "ddpm/serving/jobs/job.h"

namespace ddpm {

/// A body of POST /v1/images/generations, as OpenAI's clients send it.
struct OpenAiRequest {
  JobRequest job;
  bool wants_url = false;      ///< response_format url; else the image's bytes in base64.
  bool stream = false;         ///< Server-sent events.
  int64_t partial_images = 0;  ///< 0 .. 3: predictions of x_0 on the way, if it streams.
  std::string output_format = "png";
  std::string size;  ///< "32x32", width first.
};

/// The prompt names a class ("boot", "class:0"), and is empty for none: other text is refused,
/// since these models don't read. Members beyond OpenAI's that are read: seed, sampler, guidance,
/// as in docs/http_api.md.
///
/// @throws HttpError 400 that names the member, 404 for an unknown model.
OpenAiRequest parse_openai_request(const Service& service, const HttpRequest& request);

/// {"error":{"message","type","param","code"}}, as OpenAI's clients read it.
HttpResponse openai_error_response(const HttpError& error);
nlohmann::json openai_error_json(const HttpError& error);

}  // namespace ddpm
