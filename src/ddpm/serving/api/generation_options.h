#pragma once

#include <nlohmann/json_fwd.hpp>

#include "ddpm/serving/api/generation_fields.h"
#include "ddpm/serving/api/served_models.h"
#include "ddpm/serving/jobs/job.h"

namespace ddpm {

/// A client's JSON object as a request: docs/http_api.md, "Generation". Absent and null members
/// have their defaults; 20.0 is the integer 20; a seed is drawn where none is given. Of the
/// sampler's options those of the model's own files, as `ddpm sample` takes them.
///
/// The request's `text` is JSON of the resolved one, {"request", "model_hash", "image_shape"},
/// where "request" has all defaults and the seed, and as a body draws the same again. Its
/// `fingerprint` is of what the client wrote.
///
/// @param with_image whether an image comes with the request, as models that enlarge images want.
/// @throws HttpError 422 that names the field ("sampler.steps"), what was expected and what came,
///         and for an unknown member the nearest known one; 404 for an unknown model.
JobRequest parse_generation(const nlohmann::json& written, const ServedModels& models,
                            const GenerationLimits& limits, bool with_image = false);

}  // namespace ddpm
