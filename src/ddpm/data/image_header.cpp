#include "ddpm/data/image_header.h"

#include <algorithm>
#include <array>
#include <fstream>

namespace ddpm {
namespace {

constexpr std::array<uint8_t, 8> kPngSignature{0x89, 'P', 'N', 'G', '\r', '\n', 0x1a, '\n'};
constexpr size_t kPngColourType = 25;  // signature 8, chunk length and type 8, sizes 8, depth 1
constexpr size_t kHeaderBytes = kPngColourType + 1;

std::optional<int64_t> png_channels(uint8_t colour_type) {
  switch (colour_type) {
    case 0:
    case 4:
      return 1;  // grey, grey with alpha
    case 2:
    case 3:
    case 6:
      return 3;  // RGB, palette, RGB with alpha
    default:
      return {};
  }
}

/// Start-of-frame markers are C0 to CF but for DHT, JPG and DAC.
bool is_frame_marker(int marker) {
  return marker >= 0xc0 && marker <= 0xcf && marker != 0xc4 && marker != 0xc8 && marker != 0xcc;
}

/// Steps over segments (marker, length with itself, content) up to the frame header.
std::optional<int64_t> jpeg_channels(std::ifstream& file) {
  file.seekg(2);
  while (file.get() == 0xff) {
    int marker = file.get();
    while (marker == 0xff) marker = file.get();
    std::array<char, 8> head{};  // length 2, precision 1, height 2, width 2, components 1
    if (is_frame_marker(marker)) {
      if (!file.read(head.data(), head.size())) return {};
      return head[7] == 1 ? 1 : 3;
    }
    if (!file.read(head.data(), 2)) return {};
    const int length = static_cast<uint8_t>(head[0]) << 8 | static_cast<uint8_t>(head[1]);
    if (length < 2) return {};
    file.seekg(length - 2, std::ios::cur);
  }
  return {};
}

}  // namespace

std::optional<int64_t> read_image_channels(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  std::array<uint8_t, kHeaderBytes> header{};
  file.read(reinterpret_cast<char*>(header.data()), header.size());
  if (!file) return {};
  if (std::equal(kPngSignature.begin(), kPngSignature.end(), header.begin())) {
    return png_channels(header[kPngColourType]);
  }
  if (header[0] == 0xff && header[1] == 0xd8) return jpeg_channels(file);
  return {};
}

}  // namespace ddpm
