#include "ddpm/data/image_header.h"

#include <gtest/gtest.h>

#include <optional>
#include <vector>

#include "data/scratch_folder.h"
#include "ddpm/data/image_codec.h"

namespace ddpm {
namespace {

using testing::ScratchFolder;
using testing::write_bytes;
using Bytes = std::vector<uint8_t>;

/// The head of a JPEG: an APP0 segment that holds a false frame header, fill bytes, DHT, frame.
Bytes jpeg_head(uint8_t frame_marker, uint8_t components) {
  return {0xff, 0xd8,         0xff, 0xe0, 0, 9, 0xff, 0xc0, 0, 8,          8, 0,    1,
          0xff, 0xff,         0xff, 0xc4, 0, 4, 1,    2,  // DHT is no frame
          0xff, frame_marker, 0,    11,   8, 0, 1,    0,    1, components, 1, 0x11, 0};
}

TEST(ImageHeaderTest, PngColourTypesAreGreyOrColour) {
  const ScratchFolder folder;
  const std::vector<std::optional<int64_t>> expected{1, {}, 3, 3, 1, {}, 3};
  const Bytes png = encode_png(Image::filled(2, 2, 1));
  for (uint8_t type = 0; type < expected.size(); ++type) {
    Bytes bytes = png;
    bytes[25] = type;
    write_bytes(folder / "image", bytes);
    EXPECT_EQ(read_image_channels(folder / "image"), expected[type]) << int{type};
  }
}

TEST(ImageHeaderTest, JpegFramesAreFoundBehindOtherSegments) {
  const ScratchFolder folder;
  for (const int marker : {0xc0, 0xc1, 0xc2, 0xcf}) {
    write_bytes(folder / "grey", jpeg_head(static_cast<uint8_t>(marker), 1));
    write_bytes(folder / "colour", jpeg_head(static_cast<uint8_t>(marker), 3));
    EXPECT_EQ(read_image_channels(folder / "grey"), 1);
    EXPECT_EQ(read_image_channels(folder / "colour"), 3);
  }
  write_bytes(folder / "cmyk", jpeg_head(0xc0, 4));
  EXPECT_EQ(read_image_channels(folder / "cmyk"), 3);
}

TEST(ImageHeaderTest, TruncatedAndForeignFilesSayNothing) {
  const ScratchFolder folder;
  const Bytes whole = jpeg_head(0xc0, 1);
  for (size_t size = 0; size < 31; ++size) {
    write_bytes(folder / "short", Bytes(whole.begin(), whole.begin() + static_cast<int>(size)));
    EXPECT_EQ(read_image_channels(folder / "short"), std::nullopt) << size;
  }
  write_bytes(folder / "text", Bytes(100, 'x'));
  EXPECT_EQ(read_image_channels(folder / "text"), std::nullopt);
  EXPECT_EQ(read_image_channels(folder / "absent"), std::nullopt);
}

}  // namespace
}  // namespace ddpm
