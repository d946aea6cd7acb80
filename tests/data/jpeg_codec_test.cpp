#include <gmock/gmock.h>

#include "data/image_fixtures.h"
#include "ddpm/data/image_codec.h"

namespace ddpm {
namespace {

using testing::fixture;
using ::testing::HasSubstr;
using testing::images_near;
using testing::kNoLimit;
using testing::message_of;

TEST(JpegDecoderTest, EveryKindAgreesWithPillow) {
  const auto names = testing::read_table(fixture("jpegs.txt"));
  EXPECT_EQ(names.size(), 15U);
  for (const auto& row : names) {
    const Image got = read_image(fixture(row[0] + ".jpg"), kNoLimit);
    // Pillow carries a libjpeg of its own, whose rounding may differ by a level or two.
    EXPECT_TRUE(images_near(got, testing::read_raw(fixture(row[0] + ".raw")), 2)) << row[0];
  }
}

TEST(JpegDecoderTest, EveryTruncationIsDamage) {
  for (const char* name : {"grey.jpg", "progressive.jpg"}) {
    const std::vector<uint8_t> whole = read_binary_file(fixture(name));
    for (size_t size = 0; size < whole.size(); size += size < 700 ? 1 : 13) {
      const std::vector<uint8_t> part(whole.begin(), whole.begin() + static_cast<int64_t>(size));
      const std::string message =
          message_of<std::runtime_error>([&] { decode_image(part, "cut.jpg", kNoLimit); });
      EXPECT_THAT(message, HasSubstr("'cut.jpg'")) << name << " " << size;
    }
    std::vector<uint8_t> without_last = whole;
    without_last.pop_back();
    EXPECT_THAT(
        message_of<std::runtime_error>([&] { decode_image(without_last, "cut.jpg", kNoLimit); }),
        HasSubstr("damaged JPEG 'cut.jpg': Premature end of JPEG file"));
  }
}

TEST(JpegDecoderTest, FlippedBitsGiveAnImageOrDamageAndNothingElse) {
  const std::vector<uint8_t> whole = read_binary_file(fixture("progressive.jpg"));
  int64_t damaged = 0;
  for (size_t i = 0; i < whole.size(); i += 3) {
    std::vector<uint8_t> bytes = whole;
    bytes[i] ^= static_cast<uint8_t>(1 << i % 8);
    try {
      const Image image = decode_image(bytes, "flip.jpg", 1 << 20);
      check_image("test", image);
    } catch (const std::runtime_error&) {
      ++damaged;
    }
  }
  EXPECT_GT(damaged, 100);
}

TEST(JpegDecoderTest, TooManyPixelsAreRefusedFromTheHeader) {
  const std::string path = fixture("rgb.jpg");
  EXPECT_NO_THROW(read_image(path, 51 * 37));
  EXPECT_EQ(message_of<std::runtime_error>([&] { read_image(path, 51 * 37 - 1); }),
            "[decode_image] size of '" + path + "': expected at most 1886 pixels, got 51 x 37");
}

TEST(JpegDecoderTest, EndlessScansAreRefused) {
  EXPECT_THAT(
      message_of<std::runtime_error>([] { read_image(fixture("many_scans.jpg"), kNoLimit); }),
      HasSubstr("more than 500 scans"));
}

}  // namespace
}  // namespace ddpm
