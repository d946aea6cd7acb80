#pragma once

#include "ddpm/data/image.h"
#include "ddpm/serving/api/form.h"

namespace ddpm {

/// Pixels along a side of an image that a client sends.
inline constexpr int64_t kMaxUploadSide = 4096;

/// The form's only file of a name, decoded: a PNG or JPEG. Images are decoded one after the other
/// in all threads, so that clients together take the memory of one; limits are checked before
/// pixels are read.
///
/// @throws HttpError 422 that names the field: no such file, more than one, or one that is damaged,
///         too large, or neither PNG nor JPEG.
Image uploaded_image(const Form& form, const std::string& name);

/// As uploaded_image, of a file.
Image decode_upload(const Form::File& file);

}  // namespace ddpm
