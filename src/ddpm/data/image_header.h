#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>

namespace ddpm {

/// The channels that decode_image will give for a PNG or JPEG file, from its header alone: 1 grey,
/// 3 colour (palettes too). Nothing if the file can't be read or is neither.
std::optional<int64_t> read_image_channels(const std::filesystem::path& path);

}  // namespace ddpm
