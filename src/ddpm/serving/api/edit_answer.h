#pragma once

#include "ddpm/core/tensor.h"
#include "ddpm/serving/api/edit_task.h"
#include "ddpm/serving/http/http_message.h"

namespace ddpm {

/// An edit's images as its request wants them:
///
///     png   one: the picture, with text chunks as `ddpm edit` writes them; several: JSON
///     webp  the same, lossless; of interpolate: the path there and back, as an animation
///     npz   arr_0 [N, H, W, C] uint8, and for a model with classes arr_1 [N] int64
///
/// JSON is {"seed", "images": [{"index", "media_type", "b64", "width", "height"}]}; every answer
/// has the seed in X-Seed, where one was drawn from.
///
/// @param images [N, C, H, W] float32 in [-1, 1].
/// @throws HttpError 500 if a value is not finite.
HttpResponse edit_answer(const EditTask& task, const Tensor& images);

}  // namespace ddpm
