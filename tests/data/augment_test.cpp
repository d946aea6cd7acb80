#include "ddpm/data/augment.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>
#include <fstream>
#include <numbers>
#include <numeric>
#include <stdexcept>
#include <vector>

#include "support/run_python.h"
#include "support/tensor_matchers.h"

namespace ddpm {
namespace {

using testing::tensors_near;

std::vector<uint64_t> sample_numbers(uint64_t first, size_t count) {
  std::vector<uint64_t> samples(count);
  std::iota(samples.begin(), samples.end(), first);
  return samples;
}

/// One image as it is, to be changed.
AugmentParameters as_it_is() {
  const Tensor none = at::zeros({1}, at::kDouble);
  return {none, none, none, none, none, none, none, none};
}

Tensor one(double value) { return at::full({1}, value, at::kDouble); }

class WarpImagesTest : public ::testing::Test {
 protected:
  void SetUp() override {
    at::manual_seed(0);
    image_ = at::rand({1, 3, 16, 16}) * 2 - 1;
  }

  Tensor warped(const AugmentParameters& parameters) const {
    return warp_images(image_, source_matrices(parameters));
  }

  Tensor image_;
};

TEST_F(WarpImagesTest, AnImageAsItIsKeepsItsBits) {
  EXPECT_TRUE(at::equal(warped(as_it_is()), image_));
  const Tensor last = image_.contiguous(at::MemoryFormat::ChannelsLast);
  EXPECT_TRUE(at::equal(warp_images(last, source_matrices(as_it_is())), image_));
}

TEST_F(WarpImagesTest, FlipsMirrorTheImage) {
  AugmentParameters parameters = as_it_is();
  parameters.x_flip = one(1);
  EXPECT_TRUE(tensors_near(warped(parameters), image_.flip({3}), 1e-5));
  parameters.y_flip = one(1);
  EXPECT_TRUE(tensors_near(warped(parameters), image_.flip({2, 3}), 1e-5));
}

TEST_F(WarpImagesTest, AQuarterTurnIsCounterClockwise) {
  AugmentParameters parameters = as_it_is();
  parameters.angle = one(std::numbers::pi / 2);
  EXPECT_TRUE(tensors_near(warped(parameters), at::rot90(image_, 1, {2, 3}), 1e-5));
  // The image is mirrored first and turned then.
  parameters.x_flip = one(1);
  EXPECT_TRUE(tensors_near(warped(parameters), at::rot90(image_.flip({3}), 1, {2, 3}), 1e-5));
}

TEST_F(WarpImagesTest, ShiftsMoveWholePixelsAndMirrorTheEdge) {
  AugmentParameters parameters = as_it_is();
  parameters.shift_x = one(2);  // 2/8 of 16 pixels
  parameters.shift_y = one(-1);
  const Tensor moved = warped(parameters);
  const auto part = [](const Tensor& x, int64_t top, int64_t left) {
    return x.narrow(2, top, 14).narrow(3, left, 12);
  };
  EXPECT_TRUE(tensors_near(part(moved, 0, 4), part(image_, 2, 0), 1e-5));
  EXPECT_TRUE(tensors_near(moved.narrow(2, 0, 14).narrow(3, 0, 4),
                           image_.narrow(2, 2, 14).narrow(3, 0, 4).flip({3}), 1e-5));
}

TEST_F(WarpImagesTest, ScalingAndStretchingEnlargeFromTheCentre) {
  const Tensor slope = ((at::arange(16).to(at::kFloat) + 0.5) / 16 - 0.5).view({1, 1, 1, 16});
  image_ = slope.expand({1, 3, 16, 16}).contiguous();  // x from the centre
  AugmentParameters parameters = as_it_is();
  parameters.scale = one(5);  // 2^1
  const auto inner = [](const Tensor& x) { return x.narrow(2, 4, 8).narrow(3, 4, 8); };
  // With a = -3/4 a slope is not exact between pixels: 3/64 of a pixel's difference at quarters.
  constexpr double kTolerance = 3.01 / 64 / 16;
  EXPECT_TRUE(tensors_near(inner(warped(parameters)), inner(image_) / 2, kTolerance));
  parameters.scale = one(0);
  parameters.stretch = one(5);
  EXPECT_TRUE(tensors_near(inner(warped(parameters)), inner(image_) / 2, kTolerance));
  parameters.stretch_angle = one(std::numbers::pi / 2);  // along y: half as wide
  EXPECT_TRUE(tensors_near(inner(warped(parameters)).narrow(3, 2, 4),
                           inner(image_ * 2).narrow(3, 2, 4), 1e-5));
}

TEST_F(WarpImagesTest, RefusesOtherShapes) {
  const Tensor matrices = source_matrices(as_it_is());
  EXPECT_THROW(warp_images(at::zeros({1, 1, 4, 8}), matrices), std::invalid_argument);
  EXPECT_THROW(warp_images(at::zeros({2, 1, 4, 4}), matrices), std::invalid_argument);
}

TEST(AugmentTest, MatricesAreThoseOfNumpy) {
  AugmentConfig config{.enabled = true, .probability = 0.7};
  const AugmentParameters p = draw_augmentation(config, /*seed=*/5, sample_numbers(0, 40));
  const Tensor table = at::stack({p.x_flip, p.y_flip, p.scale, p.angle, p.stretch, p.stretch_angle,
                                  p.shift_x, p.shift_y},
                                 /*dim=*/1)
                           .contiguous();
  const std::string given = ::testing::TempDir() + "/augment_parameters.txt";
  const std::string answer = ::testing::TempDir() + "/augment_matrices.txt";
  std::ofstream file(given);
  file.precision(17);
  for (int64_t i = 0; i < table.numel(); ++i) {
    file << table.const_data_ptr<double>()[i] << (i % 8 == 7 ? '\n' : ' ');
  }
  file.close();
  testing::run_python({DDPM_SOURCE_DIR "/tests/data/augment_reference.py", given, answer});
  const Tensor expected = at::empty({40, 2, 3}, at::kDouble);
  std::ifstream answers(answer);
  for (int64_t i = 0; i < expected.numel(); ++i) {
    answers >> expected.mutable_data_ptr<double>()[i];
  }
  ASSERT_TRUE(answers.good() || answers.eof());
  EXPECT_TRUE(tensors_near(source_matrices(p).to(at::kDouble), expected, 1e-6));
}

TEST(AugmentTest, EachKindIsAppliedAsOftenAsItsProbabilitySays) {
  constexpr size_t kImages = 20'000;
  const AugmentConfig config{.enabled = true};
  const Tensor labels =
      augment_labels(config, draw_augmentation(config, /*seed=*/1, sample_numbers(0, kImages)));
  ASSERT_EQ(labels.sizes(), at::IntArrayRef({kImages, 9}));
  const std::vector<double> shares{0.5, 0.06, 0.12, 0.12, 0.12, 0.12, 0.12, 0.12, 0.12};
  for (int64_t i = 0; i < 9; ++i) {
    const Tensor told = labels.select(1, i) != 0;
    const double share = shares[static_cast<size_t>(i)];
    EXPECT_NEAR(told.to(at::kFloat).mean().item<double>(), share,
                4 * std::sqrt(share * (1 - share) / kImages))
        << i;
  }
  const Tensor untouched = (labels == 0).all(1);  // independent of one another
  EXPECT_NEAR(untouched.to(at::kFloat).mean().item<double>(), 0.5 * 0.94 * std::pow(0.88, 4),
              0.015);
}

TEST(AugmentTest, DrawsHaveThePublishedSpreads) {
  const AugmentConfig config{.enabled = true, .probability = 1};
  const AugmentParameters p = draw_augmentation(config, /*seed=*/1, sample_numbers(0, 20'000));
  for (const Tensor& normal : {p.scale, p.stretch, p.shift_x, p.shift_y}) {
    EXPECT_NEAR(normal.mean().item<double>(), 0, 0.03);
    EXPECT_NEAR(normal.std().item<double>(), 1, 0.03);
  }
  for (const Tensor& angle : {p.angle, p.stretch_angle}) {
    EXPECT_NEAR(angle.mean().item<double>(), 0, 0.06);
    EXPECT_NEAR(angle.std().item<double>(), 2 * std::numbers::pi / std::sqrt(12.0), 0.03);
    EXPECT_GE(angle.min().item<double>(), -std::numbers::pi);
  }
}

TEST(AugmentTest, LabelsAreZeroForAnImageAsItIsAndSayWhatWasDone) {
  const AugmentConfig config{.enabled = true};
  EXPECT_TRUE(at::equal(augment_labels(config, as_it_is()), at::zeros({1, 9})));
  const AugmentParameters all{one(1), one(1),   one(0.5),  one(std::numbers::pi / 2),
                              one(2), one(0.3), one(-0.7), one(0.2)};
  const Tensor expected = at::tensor(
      {1.0, 1.0, 0.5, -1.0, 1.0, 2 * std::cos(0.3), 2 * std::sin(0.3), -0.7, 0.2}, at::kDouble);
  EXPECT_TRUE(tensors_near(augment_labels(config, all)[0].to(at::kDouble), expected, 1e-6));
}

TEST(AugmentTest, ASamplesTransformationDependsOnItsNumberAlone) {
  const AugmentConfig config{.enabled = true, .probability = 0.5};
  const Tensor together =
      source_matrices(draw_augmentation(config, /*seed=*/7, sample_numbers(100, 6)));
  const Tensor later =
      source_matrices(draw_augmentation(config, /*seed=*/7, sample_numbers(103, 3)));
  EXPECT_TRUE(at::equal(together.narrow(0, 3, 3), later));
  EXPECT_FALSE(
      at::equal(source_matrices(draw_augmentation(config, 8, sample_numbers(100, 6))), together));
}

TEST(AugmentTest, AKindThatIsOffHasNoLabelAndLeavesTheOthersDraws) {
  const AugmentConfig all{.enabled = true, .probability = 0.5};
  AugmentConfig some = all;
  some.x_flip = some.rotation = false;
  EXPECT_EQ(some.num_labels(), 6);
  const auto samples = sample_numbers(0, 50);
  const AugmentParameters p = draw_augmentation(all, 2, samples);
  const AugmentParameters q = draw_augmentation(some, 2, samples);
  EXPECT_EQ(q.x_flip.count_nonzero().item<int64_t>(), 0);
  EXPECT_EQ(q.angle.count_nonzero().item<int64_t>(), 0);
  EXPECT_TRUE(at::equal(q.stretch, p.stretch));
  EXPECT_EQ(augment_labels(some, q).sizes(), at::IntArrayRef({50, 6}));
}

}  // namespace
}  // namespace ddpm
