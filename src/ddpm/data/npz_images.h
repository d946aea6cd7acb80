#pragma once

#include "ddpm/data/image_set.h"

namespace ddpm {

/// Loads the images of an .npz file as `ddpm sample -o x.npz` and guided-diffusion write it: arr_0
/// [N, H, W, C] uint8, C 1 or 3, and with classes arr_1 [N] int64, named "0", "1", ...
///
/// @throws std::runtime_error as read_npz, if arr_0 is absent or empty, or if the arrays are of
///         other shapes or dtypes.
ImageSet load_npz_images(const DataConfig& config);

}  // namespace ddpm
