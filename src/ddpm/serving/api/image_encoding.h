#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "ddpm/core/tensor.h"
#include "ddpm/serving/engine/engine_request.h"
#include "ddpm/serving/jobs/job.h"

namespace ddpm {

/// Image i of a job of parse_generation(), in its format: Jobs' encoder.
///
///     png   the text chunks that `ddpm sample` writes (docs/formats.md), with the image's class
///     webp  lossless
///     npz   arr_0 [1, H, W, C] uint8, and for a model with classes arr_1 [1] int64
///
/// @param x [C, H, W] float32 in [-1, 1], C 1 or 3.
/// @throws std::invalid_argument if a value is NaN.
JobImage encode_job_image(const JobRequest& request, int64_t image, const Tensor& x);

/// A moment of an image's way as PNG: x_t over [-2, 2], eps over [-3, 3], pred_x_start over [-1,
/// 1].
///
/// @throws std::invalid_argument if a value is NaN.
JobFrame encode_job_frame(const ImageTrace& trace);

/// [C, H, W] in [-1, 1] as "data:image/png;base64,..", for previews.
std::string png_data_url(const Tensor& x);

/// [RFC 4648 4], with padding.
std::string to_base64(std::string_view bytes);

/// "png" of "image/png": what an image's URL ends with. Empty for what encode_job_image never
/// gives.
std::string extension_of(std::string_view media_type);

}  // namespace ddpm
