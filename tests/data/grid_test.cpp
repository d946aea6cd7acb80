#include "ddpm/data/grid.h"

#include <gtest/gtest.h>

#include <set>

#include "data/image_fixtures.h"
#include "ddpm/data/bitmap_font.h"
#include "ddpm/data/bitmap_text.h"

namespace ddpm {
namespace {

using testing::counting_image;
using testing::images_near;

int64_t count_dark(const Image& image, int64_t x, int64_t y, int64_t width, int64_t height) {
  int64_t dark = 0;
  for (int64_t row = y; row < y + height; ++row) {
    for (int64_t column = x; column < x + width; ++column) dark += *image.at(column, row) < 128;
  }
  return dark;
}

TEST(BitmapTextTest, EveryGlyphIsWellFormedAndUnlikeTheOthers) {
  std::set<std::string_view> seen;
  for (const std::string_view glyph : kGlyphs) {
    ASSERT_EQ(glyph.size(), 47U);
    for (size_t i = 0; i < glyph.size(); ++i) {
      EXPECT_TRUE(i % 6 == 5 ? glyph[i] == ' ' : glyph[i] == '.' || glyph[i] == '#') << glyph;
    }
    EXPECT_TRUE(seen.insert(glyph).second) << glyph;
  }
}

TEST(BitmapTextTest, LettersStandWhereTheyAreAskedTo) {
  Image image = Image::filled(14, 10, 1, 255);
  draw_text(image, 1, 1, "T-", 1);
  std::string drawn;
  for (int64_t y = 0; y < 10; ++y) {
    for (int64_t x = 0; x < 14; ++x) drawn += *image.at(x, y) == 0 ? '#' : '.';
    drawn += '\n';
  }
  EXPECT_EQ(drawn,
            "..............\n"
            ".#####........\n"
            "...#..........\n"
            "...#..........\n"
            "...#...#####..\n"
            "...#..........\n"
            "...#..........\n"
            "...#..........\n"
            "..............\n"
            "..............\n");
}

TEST(BitmapTextTest, ScaleColourAndWidthAgree) {
  EXPECT_EQ(text_width("", 3), 0);
  EXPECT_EQ(text_width("t=999", 2), (5 * 6 - 1) * 2);
  Image image = Image::filled(40, 20, 3, 255);
  draw_text(image, 0, 0, "T", 2, {200, 10, 20});
  EXPECT_EQ(image.at(9, 1)[0], 200);
  EXPECT_EQ(image.at(9, 1)[2], 20);
  EXPECT_EQ(image.at(10, 1)[0], 255);
}

TEST(BitmapTextTest, WhatFallsOutsideIsCutAndUnknownBytesAreQuestionMarks) {
  Image image = Image::filled(5, 5, 1, 255);
  draw_text(image, -3, -3, "MMMM", 3);
  draw_text(image, 100, 100, "M", 1);
  EXPECT_LT(count_dark(image, 0, 0, 5, 5), 25);
  Image unknown = Image::filled(6, 8, 1, 255);
  draw_text(unknown, 0, 0, "\xCE", 1);
  Image question = Image::filled(6, 8, 1, 255);
  draw_text(question, 0, 0, "?", 1);
  EXPECT_TRUE(images_near(unknown, question, 0));
  EXPECT_THROW(draw_text(image, 0, 0, "a", 0), std::invalid_argument);
}

TEST(GridTest, EnlargedPixelsAreSquares) {
  const Image image = counting_image(3, 2, 3);
  const Image large = enlarge_pixels(image, 4);
  EXPECT_EQ(large.width, 12);
  for (int64_t y = 0; y < 8; ++y) {
    for (int64_t x = 0; x < 12; ++x) EXPECT_EQ(large.at(x, y)[1], image.at(x / 4, y / 4)[1]);
  }
  EXPECT_THROW(enlarge_pixels(image, 0), std::invalid_argument);
}

TEST(GridTest, TilesRefuseOtherSizesAndTakeFewerImagesThanColumns) {
  const Image image = counting_image(3, 2, 1);
  EXPECT_EQ(tile_images({image, image}, 8, 0).width, 6);
  EXPECT_THROW(tile_images({}, 1, 0), std::invalid_argument);
  EXPECT_THROW(tile_images({image}, 0, 0), std::invalid_argument);
  EXPECT_THROW(tile_images({image, counting_image(2, 3, 1)}, 2, 0), std::invalid_argument);
}

TEST(GridTest, StackedRowsKeepTheirPixelsAndBecomeRgbTogether) {
  const Image wide = Image::filled(4, 1, 1, 10);
  const Image colour = Image::filled(2, 2, 3, 20);
  const Image stack = stack_rows({wide, colour}, 1);
  EXPECT_EQ(stack.width, 4);
  EXPECT_EQ(stack.height, 4);
  EXPECT_EQ(stack.channels, 3);
  EXPECT_EQ(stack.at(3, 0)[2], 10);
  EXPECT_EQ(stack.at(0, 1)[0], 255);
  EXPECT_EQ(stack.at(1, 3)[0], 20);
  EXPECT_EQ(stack.at(2, 3)[0], 255);
}

TEST(GridTest, StripHoldsEveryPictureAndLabel) {
  const StripLabels labels{
      .rows = {"x_t", "predicted noise"}, .columns = {"t=999", "t=0"}, .title = ""};
  const Image picture = Image::filled(32, 32, 1, 0);
  const Image strip = label_strip({{picture, picture}, {picture, picture}}, labels);
  // The labels leave their columns and rows white where no letter is; pictures are 96 wide.
  const int64_t left = 12 + text_width("predicted noise", 2) + 12;
  EXPECT_EQ(strip.width, left + 2 * 96 + 4 + 12);
  EXPECT_EQ(count_dark(strip, left, strip.height - 12 - 96, 96, 96), 96 * 96);
  EXPECT_EQ(count_dark(strip, left + 96, 0, 4, strip.height), 0);
  EXPECT_GT(count_dark(strip, 12, strip.height - 12 - 96, left - 24, 96), 300);
  EXPECT_EQ(count_dark(strip, 0, 0, 12, strip.height), 0);
}

TEST(GridTest, StripRefusesLabelsThatDoNotFit) {
  const Image picture = counting_image(4, 4, 1);
  EXPECT_THROW(label_strip({{picture}}, {{"a", "b"}, {"c"}, ""}), std::invalid_argument);
  EXPECT_THROW(label_strip({{picture}}, {{"a"}, {"c", "d"}, ""}), std::invalid_argument);
  EXPECT_THROW(label_strip({{picture, counting_image(5, 4, 1)}}, {{"a"}, {"c", "d"}, ""}),
               std::invalid_argument);
  EXPECT_THROW(label_strip({{picture}}, {{"a"}, {"c"}, ""}, -1), std::invalid_argument);
}

}  // namespace
}  // namespace ddpm
