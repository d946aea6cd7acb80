#pragma once

#include <cstdint>

#include "ddpm/data/image_set.h"

namespace ddpm {

/// Draws a set of simple figures, antialiased, one an image: circle, ring, square, triangle,
/// hexagon, star, cross and moon, at random places, sizes, angles and colours on a plain ground.
/// Image i is of class i % 8 and depends on (seed, i, size, channels) only.
///
/// @param size     side in pixels, at least 8.
/// @param channels 1 (light on dark grey) or 3.
/// @return         images [count, channels, size, size].
/// @throws std::invalid_argument for a count below 1, a size below 8 or another channel count.
ImageSet make_shapes(int64_t count, int64_t size, int64_t channels, uint64_t seed);

/// The shapes that a recipe asks for: max_images of them (0: 10,000), image_size pixels (0: 32),
/// channels (0: 3), drawn from seed 0, or for DataSplit::kTest from seed 1.
ImageSet load_shapes(const DataConfig& config);

}  // namespace ddpm
