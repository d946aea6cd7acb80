#include "ddpm/data/image_codec.h"

#include <gmock/gmock.h>

#include "data/image_fixtures.h"
#include "ddpm/data/image_orientation.h"

namespace ddpm {
namespace {

using testing::counting_image;
using ::testing::HasSubstr;
using testing::images_near;
using testing::kNoLimit;
using testing::message_of;

TEST(ImageCodecTest, OtherFormatsAndNothingAreNamed) {
  EXPECT_EQ(message_of<std::runtime_error>([] { decode_image({}, "a.png", kNoLimit); }),
            "[decode_image] 'a.png' is empty: expected a PNG or JPEG");
  EXPECT_EQ(message_of<std::runtime_error>([] {
              decode_image({'G', 'I', 'F', '8', '9', 'a'}, "a.png", kNoLimit);
            }),
            "[decode_image] format of 'a.png': expected a PNG or JPEG, got other first bytes");
  EXPECT_THAT(message_of<std::runtime_error>([] { read_image("/no/such.png", kNoLimit); }),
              HasSubstr("/no/such.png"));
}

TEST(ImageCodecTest, WritingWhereNothingCanBeWrittenLeavesNothing) {
  EXPECT_THROW(write_png("/no/such/folder/a.png", counting_image(2, 2, 1)), std::runtime_error);
}

/// A TIFF header with one entry, in either byte order.
std::vector<uint8_t> tiff_with(bool big_endian, uint8_t tag_low, uint8_t type, uint8_t value) {
  if (big_endian) {
    return {'M',  'M', 0, 42, 0, 0, 0,     8, 0, 1, 1, tag_low, 0,
            type, 0,   0, 0,  1, 0, value, 0, 0, 0, 0, 0,       0};
  }
  return {'I', 'I', 42, 0, 8, 0,     0, 0, 1, 0, tag_low, 1, type,
          0,   1,   0,  0, 0, value, 0, 0, 0, 0, 0,       0, 0};
}

TEST(ImageOrientationTest, IsReadInBothByteOrders) {
  for (const bool big_endian : {false, true}) {
    EXPECT_EQ(exif_orientation(tiff_with(big_endian, 0x12, 3, 6)), 6);
    EXPECT_EQ(exif_orientation(tiff_with(big_endian, 0x12, 3, 8)), 8);
  }
}

TEST(ImageOrientationTest, BrokenExifLeavesThePixelsAsStored) {
  EXPECT_EQ(exif_orientation({}), 1);
  EXPECT_EQ(exif_orientation(tiff_with(true, 0x12, 3, 0)), 1);
  EXPECT_EQ(exif_orientation(tiff_with(true, 0x12, 3, 9)), 1);
  EXPECT_EQ(exif_orientation(tiff_with(true, 0x12, 4, 6)), 1);
  EXPECT_EQ(exif_orientation(tiff_with(true, 0x13, 3, 6)), 1);
  std::vector<uint8_t> far_away = tiff_with(true, 0x12, 3, 6);
  far_away[4] = 0xFF;
  EXPECT_EQ(exif_orientation(far_away), 1);
  const std::vector<uint8_t> whole = tiff_with(false, 0x12, 3, 6);
  for (size_t size = 0; size < 22; ++size) {
    EXPECT_EQ(exif_orientation(std::span(whole).first(size)), 1) << size;
  }
}

TEST(ImageOrientationTest, EveryTurnMovesTheFirstPixelAndHasAnInverse) {
  const Image image = counting_image(3, 2, 3);
  const std::array<int, 9> inverse{0, 1, 2, 3, 4, 5, 8, 7, 6};
  for (int orientation = 1; orientation <= 8; ++orientation) {
    const Image turned = orient_image(image, orientation);
    const Image back = orient_image(turned, inverse[static_cast<size_t>(orientation)]);
    EXPECT_TRUE(images_near(back, image, 0)) << orientation;
  }
  // 6: the stored rows are the columns from the right, so the first pixel is at the top right.
  const Image quarter = orient_image(image, 6);
  EXPECT_EQ(quarter.width, 2);
  EXPECT_EQ(quarter.at(1, 0)[0], image.at(0, 0)[0]);
  EXPECT_EQ(quarter.at(1, 2)[0], image.at(2, 0)[0]);
  EXPECT_THROW(orient_image(image, 9), std::invalid_argument);
}

std::vector<Image> three_frames(int64_t channels) {
  std::vector<Image> frames;
  for (const uint8_t value : {uint8_t{10}, uint8_t{120}, uint8_t{250}}) {
    frames.push_back(counting_image(20, 12, channels));
    frames.back().pixels[0] = value;
  }
  return frames;
}

/// Pillow's frames of an animation, and its count, loops and durations.
std::vector<Image> take_apart(const std::vector<uint8_t>& webp, std::vector<std::string>& numbers) {
  const std::string folder = testing::scratch_folder();
  write_file_atomic(folder + "/animation.webp", std::span<const uint8_t>(webp));
  EXPECT_TRUE(testing::run_fixtures("webp " + folder + "/animation.webp " + folder));
  numbers = testing::read_table(folder + "/animation.txt").at(0);
  std::vector<Image> frames;
  for (int i = 0; i < std::stoi(numbers[0]); ++i) {
    frames.push_back(testing::read_raw(folder + "/frame" + std::to_string(i) + ".raw"));
  }
  return frames;
}

TEST(WebpEncoderTest, LosslessFramesTimesAndLoopsAreWhatPillowReads) {
  const std::vector<Image> frames = three_frames(3);
  std::vector<std::string> numbers;
  const std::vector<Image> got = take_apart(
      encode_webp_animation(frames, {.frame_ms = 40, .last_frame_ms = 900, .loop_count = 2}),
      numbers);
  EXPECT_EQ(numbers, (std::vector<std::string>{"3", "2", "40", "40", "900"}));
  ASSERT_EQ(got.size(), frames.size());
  for (size_t i = 0; i < got.size(); ++i) EXPECT_TRUE(images_near(got[i], frames[i], 0)) << i;
}

TEST(WebpEncoderTest, LossyIsSmallerAndStillNear) {
  Image smooth = Image::filled(64, 64, 1);  // but for noise of a few levels
  uint32_t noise = 1;
  for (size_t i = 0; i < smooth.pixels.size(); ++i) {
    noise = noise * 1664525 + 1013904223;
    smooth.pixels[i] = static_cast<uint8_t>(i % 64 * 2 + i / 64 + (noise >> 28));
  }
  const std::vector<uint8_t> lossy = encode_webp_animation({smooth}, {.lossless = false});
  EXPECT_LT(lossy.size(), encode_webp_animation({smooth}).size());
  std::vector<std::string> numbers;
  const Image got = take_apart(lossy, numbers).at(0);
  double sum = 0;
  for (size_t i = 0; i < smooth.pixels.size(); ++i) {
    sum += std::abs(int{got.pixels[3 * i]} - int{smooth.pixels[i]});
  }
  EXPECT_LT(sum / static_cast<double>(smooth.pixels.size()), 6);
}

TEST(WebpEncoderTest, RefusesBadFramesAndOptions) {
  std::vector<Image> frames = three_frames(1);
  EXPECT_THROW(encode_webp_animation({}), std::invalid_argument);
  EXPECT_THROW(encode_webp_animation(frames, {.frame_ms = 0}), std::invalid_argument);
  EXPECT_THROW(encode_webp_animation(frames, {.frame_ms = 1LL << 31}), std::invalid_argument);
  EXPECT_THROW(encode_webp_animation(frames, {.loop_count = 65536}), std::invalid_argument);
  EXPECT_THROW(encode_webp_animation(frames, {.quality = 101}), std::invalid_argument);
  EXPECT_THROW(encode_webp_animation({Image::filled(16384, 1, 1)}), std::invalid_argument);
  frames[1] = counting_image(12, 20, 1);
  EXPECT_EQ(message_of<std::invalid_argument>([&] { encode_webp_animation(frames); }),
            "[encode_webp_animation] size of frame 1: expected that of the first, 20 x 12 of 1 "
            "channels, got 12 x 20 of 1");
}

}  // namespace
}  // namespace ddpm
