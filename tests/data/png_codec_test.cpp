#include <gmock/gmock.h>

#include "data/image_fixtures.h"
#include "ddpm/data/image_codec.h"

namespace ddpm {
namespace {

using testing::counting_image;
using testing::fixture;
using ::testing::HasSubstr;
using testing::images_near;
using testing::kNoLimit;
using testing::message_of;

std::vector<uint8_t> small_png() {
  return encode_png(counting_image(9, 7, 3), {{"seed", "7"}, {"name", "\xCE\xB5"}});
}

/// A PNG's beginning that claims a size; libpng checks the CRC only after us.
std::vector<uint8_t> png_claiming(uint8_t width_high_byte) {
  std::vector<uint8_t> bytes = small_png();
  bytes[16] = width_high_byte;
  return bytes;
}

TEST(PngDecoderTest, EveryColourTypeDepthInterlaceAndTransparencyHasItsExactPixels) {
  const auto names = testing::read_table(fixture("pngs.txt"));
  EXPECT_EQ(names.size(), 52U);
  for (const auto& row : names) {
    const Image got = read_image(fixture(row[0] + ".png"), kNoLimit);
    EXPECT_TRUE(images_near(got, testing::read_raw(fixture(row[0] + ".raw")), 0)) << row[0];
  }
}

TEST(PngDecoderTest, ExifOrientationTurnsThePixels) {
  const Image upright = read_image(fixture("turned1.png"), kNoLimit);
  for (int orientation = 2; orientation <= 8; ++orientation) {
    const std::string name = "turned" + std::to_string(orientation);
    const Image got = read_image(fixture(name + ".png"), kNoLimit);
    EXPECT_EQ(got.width, orientation < 5 ? upright.width : upright.height) << name;
    // The JPEG of the same photo, as Pillow turns it; a wrong turn is off by 100 and more.
    EXPECT_TRUE(images_near(got, testing::read_raw(fixture(name + ".raw")), 24)) << name;
  }
}

TEST(PngDecoderTest, EveryTruncationIsDamage) {
  const std::vector<uint8_t> whole = small_png();
  for (size_t size = 0; size < whole.size(); ++size) {
    const std::vector<uint8_t> part(whole.begin(), whole.begin() + static_cast<int64_t>(size));
    const std::string message =
        message_of<std::runtime_error>([&] { decode_image(part, "cut.png", kNoLimit); });
    EXPECT_THAT(message, HasSubstr("'cut.png'")) << size;
  }
}

TEST(PngDecoderTest, EveryFlippedBitIsDamage) {
  const std::vector<uint8_t> whole = small_png();
  for (size_t i = 0; i < whole.size(); ++i) {
    std::vector<uint8_t> bytes = whole;
    bytes[i] ^= static_cast<uint8_t>(1 << i % 8);
    EXPECT_THROW(decode_image(bytes, "flip.png", kNoLimit), std::runtime_error) << i;
  }
}

TEST(PngDecoderTest, TooManyPixelsAreRefusedFromTheHeader) {
  const std::vector<uint8_t> bytes = encode_png(counting_image(9, 7, 3));
  EXPECT_NO_THROW(decode_image(bytes, "a.png", 63));
  EXPECT_EQ(message_of<std::runtime_error>([&] { decode_image(bytes, "a.png", 62); }),
            "[decode_image] size of 'a.png': expected at most 62 pixels, got 9 x 7");
  EXPECT_THAT(message_of<std::runtime_error>(
                  [&] { decode_image(png_claiming(0x7F), "huge.png", kNoLimit); }),
              HasSubstr("expected at most 16777216 pixels"));
  EXPECT_THAT(message_of<std::runtime_error>([&] {
                decode_image(png_claiming(0xFF), "odd.png", std::numeric_limits<int64_t>::max());
              }),
              HasSubstr("its header gives a size of"));
}

TEST(PngDecoderTest, AFileTooShortForItsPixelsIsRefusedBeforeTheyAreAllocated) {
  // 4000 x 4000 pixels of one colour: libpng's own bytes, cut behind the first 2000 of them.
  std::vector<uint8_t> bytes = encode_png(Image::filled(4000, 4000, 3, 9));
  ASSERT_GT(bytes.size(), 2000U);
  bytes.resize(2000);
  EXPECT_THAT(message_of<std::runtime_error>([&] { decode_image(bytes, "a.png", kNoLimit); }),
              HasSubstr("2000 bytes cannot hold 4000 x 4000 pixels"));
}

TEST(PngEncoderTest, GreyAndRgbComeBackUnchanged) {
  for (const int64_t channels : {1, 3}) {
    const Image image = counting_image(31, 17, channels);
    EXPECT_TRUE(images_near(decode_image(encode_png(image), "a.png", kNoLimit), image, 0));
  }
}

TEST(PngEncoderTest, RefusesWhatIsNoImage) {
  EXPECT_THROW(encode_png({}), std::invalid_argument);
  EXPECT_THROW(encode_png(Image::filled(2, 2, 4)), std::invalid_argument);
  Image short_one = Image::filled(2, 2, 1);
  short_one.pixels.pop_back();
  EXPECT_THROW(encode_png(short_one), std::invalid_argument);
}

TEST(PngTextTest, ComesBackFromAFileInOrder) {
  const std::string path = testing::scratch_folder() + "/written.png";
  const TextChunks text{{"seed", "7"},
                        {"model hash", "abc\ndef"},
                        {"prompt", "\xCE\xB5 \xE2\x86\x92 x"},
                        {"empty", ""}};
  write_png(path, counting_image(3, 2, 3), text);
  EXPECT_EQ(read_png_text(path), text);
  EXPECT_TRUE(images_near(read_image(path, kNoLimit), counting_image(3, 2, 3), 0));
}

TEST(PngTextTest, PillowReadsWhatIsWritten) {
  const std::string path = testing::scratch_folder() + "/for_pillow.png";
  write_png(path, counting_image(3, 2, 1), {{"seed", "7"}, {"prompt", "\xCE\xB5 \"x\""}});
  ASSERT_TRUE(testing::run_fixtures("text " + path + " " + path + ".txt"));
  EXPECT_EQ(read_text_file(path + ".txt"),
            "[\"seed\", \"7\"]\n[\"prompt\", \"\\u03b5 \\\"x\\\"\"]");
}

TEST(PngTextTest, ReadsWhatPillowWritesCompressedAndLatin1Too) {
  std::string abc;
  for (int i = 0; i < 500; ++i) abc += "abc ";
  std::string epsilons;
  for (int i = 0; i < 300; ++i) epsilons += "\xCE\xB5";
  EXPECT_EQ(read_png_text(fixture("text.png")),
            (TextChunks{{"plain", "seed 7"},
                        {"latin", "na\xC3\xAFve"},
                        {"packed", abc},
                        {"world", "\xCE\xB5 \xE2\x86\x92 x\xE2\x82\x80"},
                        {"world packed", epsilons}}));
}

TEST(PngTextTest, BadKeywordsAndTextsAreTheCallersMistake) {
  const Image image = counting_image(2, 2, 1);
  for (const std::string& keyword :
       {std::string(), std::string(" a"), std::string("a "), std::string("a  b"),
        std::string("\xC3\xA9"), std::string("a\nb"), std::string(80, 'k')}) {
    EXPECT_THROW(encode_png(image, {{keyword, "x"}}), std::invalid_argument) << keyword;
  }
  EXPECT_NO_THROW(encode_png(image, {{std::string(79, 'k'), "x"}}));
  EXPECT_THROW(encode_png(image, {{"a", std::string("x\0y", 3)}}), std::invalid_argument);
  EXPECT_THROW(encode_png(image, {{"a", std::string((1 << 20) + 1, 'x')}}), std::invalid_argument);
}

}  // namespace
}  // namespace ddpm
