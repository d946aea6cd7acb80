#include "ddpm/data/resize.h"

#include <gtest/gtest.h>

#include "data/image_fixtures.h"
#include "ddpm/data/fit.h"

namespace ddpm {
namespace {

using testing::counting_image;
using testing::fixture;
using testing::images_near;
using testing::read_raw;

Image grey(int64_t width, int64_t height, std::vector<uint8_t> pixels) {
  return {width, height, 1, std::move(pixels)};
}

TEST(ResizeTest, AgreesWithExactMeansAndWithPillow) {
  const auto cases = testing::read_table(fixture("resizes.txt"));
  EXPECT_EQ(cases.size(), 49U);
  for (const auto& row : cases) {
    const ResizeFilter filter = row[2] == "area" ? ResizeFilter::kArea : ResizeFilter::kBicubic;
    const Image got = resize_image(read_raw(fixture(row[1] + ".raw")), std::stoll(row[3]),
                                   std::stoll(row[4]), filter);
    // One level: a value at the middle between two may round either way.
    EXPECT_TRUE(images_near(got, read_raw(fixture(row[0] + ".raw")), 1)) << row[0];
  }
}

TEST(ResizeTest, OneColourStaysThatColour) {
  for (const ResizeFilter filter :
       {ResizeFilter::kAuto, ResizeFilter::kArea, ResizeFilter::kBicubic}) {
    for (const int64_t side : {1, 3, 10, 47}) {
      EXPECT_TRUE(images_near(resize_image(Image::filled(10, 7, 3, 201), side, 2 * side, filter),
                              Image::filled(side, 2 * side, 3, 201), 0));
    }
  }
}

TEST(ResizeTest, AreaWeighsByThePartCovered) {
  // Three pixels to two: the middle one is shared. (2 * 30 + 90) / 3 = 50 and (90 + 2 * 210) / 3.
  const Image got = resize_image(grey(3, 1, {30, 90, 210}), 2, 1, ResizeFilter::kArea);
  EXPECT_EQ(got.pixels, (std::vector<uint8_t>{50, 170}));
}

TEST(ResizeTest, ShrinkingAveragesAFineCheckerboardToGrey) {
  Image board = Image::filled(64, 64, 1);
  for (int64_t y = 0; y < 64; ++y) {
    for (int64_t x = 0; x < 64; ++x) *board.at(x, y) = (x + y) % 2 == 0 ? 0 : 255;
  }
  for (const ResizeFilter filter : {ResizeFilter::kArea, ResizeFilter::kBicubic}) {
    EXPECT_TRUE(images_near(resize_image(board, 8, 8, filter), Image::filled(8, 8, 1, 128), 1));
  }
}

TEST(ResizeTest, AutoTakesAreaAlongAShrinkingAxisAndBicubicAlongAGrowingOne) {
  const Image image = counting_image(12, 12, 3);
  const auto resized = [&](int64_t width, int64_t height, ResizeFilter filter) {
    return resize_image(image, width, height, filter);
  };
  EXPECT_TRUE(
      images_near(resized(5, 6, ResizeFilter::kAuto), resized(5, 6, ResizeFilter::kArea), 0));
  EXPECT_TRUE(images_near(resized(20, 30, ResizeFilter::kAuto),
                          resized(20, 30, ResizeFilter::kBicubic), 0));
  const Image mixed = resized(5, 30, ResizeFilter::kAuto);
  EXPECT_FALSE(images_near(mixed, resized(5, 30, ResizeFilter::kArea), 3));
  EXPECT_FALSE(images_near(mixed, resized(5, 30, ResizeFilter::kBicubic), 3));
}

TEST(ResizeTest, RefusesEmptySizes) {
  EXPECT_THROW(resize_image({}, 2, 2, ResizeFilter::kAuto), std::invalid_argument);
  EXPECT_THROW(resize_image(grey(1, 1, {0}), 0, 2, ResizeFilter::kAuto), std::invalid_argument);
}

TEST(FitTest, CropTakesTheCentre) {
  const Image image = grey(5, 2, {1, 2, 3, 4, 5, 6, 7, 8, 9, 10});
  EXPECT_EQ(fit_square(image, 2, FitPolicy::kCrop, ResizeFilter::kAuto).pixels,
            (std::vector<uint8_t>{2, 3, 7, 8}));
}

TEST(FitTest, PadKeepsTheWholeOnBlack) {
  const Image image = grey(4, 2, {9, 9, 9, 9, 9, 9, 9, 9});
  EXPECT_EQ(fit_square(image, 4, FitPolicy::kPad, ResizeFilter::kAuto).pixels,
            (std::vector<uint8_t>{0, 0, 0, 0, 9, 9, 9, 9, 9, 9, 9, 9, 0, 0, 0, 0}));
  // A line of 1 x 100 still leaves a pixel's width.
  const Image line =
      fit_square(Image::filled(1, 100, 1, 7), 10, FitPolicy::kPad, ResizeFilter::kAuto);
  EXPECT_EQ(std::count(line.pixels.begin(), line.pixels.end(), 7), 10);
}

TEST(FitTest, StretchScalesEachAxis) {
  const Image image = grey(4, 2, {0, 0, 200, 200, 100, 100, 50, 50});
  EXPECT_EQ(fit_square(image, 2, FitPolicy::kStretch, ResizeFilter::kAuto).pixels,
            (std::vector<uint8_t>{0, 200, 100, 50}));
}

TEST(FitTest, ChannelsFollowRec601AsPillowDoes) {
  EXPECT_TRUE(images_near(convert_channels(read_raw(fixture("photo.raw")), 1),
                          read_raw(fixture("photo_luma.raw")), 0));
  EXPECT_EQ(convert_channels(grey(2, 1, {5, 250}), 3).pixels,
            (std::vector<uint8_t>{5, 5, 5, 250, 250, 250}));
  for (int value = 0; value < 256; ++value) {
    const Image image = grey(1, 1, {static_cast<uint8_t>(value)});
    EXPECT_EQ(convert_channels(convert_channels(image, 3), 1).pixels, image.pixels);
  }
  EXPECT_THROW(convert_channels(grey(1, 1, {0}), 2), std::invalid_argument);
}

TEST(FitTest, CropRefusesWhatLiesOutside) {
  EXPECT_THROW(crop_image(counting_image(4, 4, 1), 2, 0, 3, 1), std::invalid_argument);
  EXPECT_THROW(crop_image(counting_image(4, 4, 1), -1, 0, 3, 1), std::invalid_argument);
}

}  // namespace
}  // namespace ddpm
