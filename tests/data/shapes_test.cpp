#include "ddpm/data/shapes.h"

#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <numbers>
#include <stdexcept>

namespace ddpm {
namespace {

constexpr int64_t kClasses = 8;

/// Ink-covered pixels of grey pictures: (value - ground) / (ink - ground), summed over each
/// picture.
Tensor covered_area(const Tensor& images) {
  const Tensor pixels = images.to(at::kDouble).flatten(1);
  const Tensor ground = std::get<0>(pixels.min(1, true)), ink = std::get<0>(pixels.max(1, true));
  return ((pixels - ground) / (ink - ground)).sum(1);
}

/// [N] extent of the ink in pixels: the larger side of its bounding box.
Tensor ink_extent(const Tensor& images) {
  const Tensor pixels = images.to(at::kDouble).squeeze(1);
  const Tensor middle = (pixels.amin({1, 2}, true) + pixels.amax({1, 2}, true)) / 2;
  const Tensor ink = pixels > middle;
  return at::maximum(ink.any(1).sum(1), ink.any(2).sum(1)).to(at::kDouble);
}

TEST(ShapesTest, AnImageDependsOnSeedAndIndexOnly) {
  const ImageSet many = make_shapes(40, 32, 3, 1);
  EXPECT_TRUE(make_shapes(40, 32, 3, 1).images.equal(many.images));
  EXPECT_TRUE(make_shapes(9, 32, 3, 1).images.equal(many.images.narrow(0, 0, 9)));
  EXPECT_FALSE(make_shapes(40, 32, 3, 2).images.equal(many.images));
}

TEST(ShapesTest, ClassesTakeTurnsAndHaveNames) {
  const ImageSet set = make_shapes(16, 16, 1, 0);
  EXPECT_TRUE(set.labels.equal(at::arange(16, at::kLong).remainder(kClasses)));
  EXPECT_THAT(set.class_names, ::testing::ElementsAre("circle", "ring", "square", "triangle",
                                                      "hexagon", "star", "cross", "moon"));
}

// A circle's extent is 2 R up to one pixel of at least 56, which bounds the error of its area.
TEST(ShapesTest, RoundFiguresHaveTheAreaOfTheirExtent) {
  constexpr int64_t kSize = 128;
  const ImageSet set = make_shapes(80, kSize, 1, 3);
  const Tensor area = covered_area(set.images), radius = ink_extent(set.images) / 2;
  for (int64_t i = 0; i < 80; ++i) {
    const auto r = radius[i].item<double>(), got = area[i].item<double>();
    const double disc = std::numbers::pi * r * r;
    if (i % kClasses == 0) {
      EXPECT_NEAR(got / disc, 1, 0.04);
    } else if (i % kClasses == 1) {
      EXPECT_NEAR(got / disc, 1 - 0.56 * 0.56, 0.04);
    }
  }
}

// Area / R^2 of each figure: regular polygons n/2 sin(2 pi / n), the star 5 * 0.42 * sin 36,
// the cross two bars of 1.88 x 0.64 less their middle.
// The mean of the radius is (0.22 + 0.1) of the side, of its square 0.32^2 + 0.2^2 / 12.
TEST(ShapesTest, PolygonsHaveTheirAreaOnAverage) {
  constexpr int64_t kSize = 64, kEach = 400;
  const ImageSet set = make_shapes(kEach * kClasses, kSize, 1, 4);
  const Tensor mean_area = covered_area(set.images).view({kEach, kClasses}).mean(0);
  const double square_of_radius = (0.32 * 0.32 + 0.2 * 0.2 / 12) * kSize * kSize;
  const auto unit_area = [&](int64_t label) {
    return mean_area[label].item<double>() / square_of_radius;
  };
  // The deviation of R^2 over 400 pictures is 1.8 % of it.
  EXPECT_NEAR(unit_area(2) / 2.0, 1, 0.08);
  EXPECT_NEAR(unit_area(3) / 1.2990, 1, 0.08);
  EXPECT_NEAR(unit_area(4) / 2.5981, 1, 0.08);
  EXPECT_NEAR(unit_area(5) / 1.2343, 1, 0.08);
  EXPECT_NEAR(unit_area(6) / (2 * 1.88 * 0.64 - 0.64 * 0.64), 1, 0.08);
}

TEST(ShapesTest, EdgesAreAntialiasedAndTheBorderIsGround) {
  const ImageSet set = make_shapes(kClasses, 32, 1, 5);
  for (int64_t i = 0; i < kClasses; ++i) {
    const Tensor image = set.images[i][0];
    const auto levels = std::get<0>(at::_unique2(image)).numel();
    EXPECT_GT(levels, 10) << i;  // ground, ink and the values between them
    EXPECT_LE((image[0].to(at::kLong) - image[0][0].item<int64_t>()).abs().max().item<int64_t>(),
              80)
        << i;
  }
}

TEST(ShapesTest, TheConfigSetsCountSizeAndChannels) {
  EXPECT_EQ(load_shapes({}).images.sizes(), at::IntArrayRef({10'000, 3, 32, 32}));
  DataConfig config;
  config.max_images = 5;
  config.image_size = 20;
  config.channels = 1;
  EXPECT_EQ(load_shapes(config).images.sizes(), at::IntArrayRef({5, 1, 20, 20}));
}

TEST(ShapesTest, BadArgumentsAreRefused) {
  EXPECT_THROW(make_shapes(0, 32, 3, 0), std::invalid_argument);
  EXPECT_THROW(make_shapes(1, 7, 3, 0), std::invalid_argument);
  EXPECT_THROW(make_shapes(1, 32, 2, 0), std::invalid_argument);
}

}  // namespace
}  // namespace ddpm
