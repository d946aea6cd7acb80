#pragma once

#include "ddpm/config/data_config.h"
#include "ddpm/data/image.h"
#include "ddpm/serving/api/form.h"

namespace ddpm {

/// Pixels along a side of an image that a client sends.
inline constexpr int64_t kMaxUploadSide = 4096;

/// The form's only file of a name, a PNG or JPEG, as a square of size x size (fit_square). Limits
/// are checked before pixels are read, and images are decoded and reduced one after the other in
/// all threads, so that clients together take the memory of one.
///
/// @throws HttpError 422 that names the field: no such file, more than one, or one that is damaged,
///         too large, or neither PNG nor JPEG.
Image square_of_upload(const Form& form, const std::string& name, int64_t size, FitPolicy fit);

/// As square_of_upload, of a file.
Image square_of_file(const Form::File& file, int64_t size, FitPolicy fit);

}  // namespace ddpm
