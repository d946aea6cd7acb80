#include "ddpm/evaluation/extract_features.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <stdexcept>
#include <vector>

#include "support/tensor_matchers.h"

namespace ddpm {
namespace {

Tensor pixels_0_to_255() { return at::arange(256, at::kLong).to(at::kByte).view({16, 1, 4, 4}); }

Tensor flat(const Tensor& images) { return images.flatten(1); }

TEST(ExtractFeaturesTest, PixelsBecomeNumbersFromMinusOneToOne) {
  const Tensor features = extract_features(flat, pixels_0_to_255(), {.batch_size = 16});
  EXPECT_TRUE(
      testing::tensors_near(features, at::linspace(-1, 1, 256, at::kFloat).view({16, 16}), 1e-6));
}

TEST(ExtractFeaturesTest, ImagesKeepTheirOrderInAnyBatches) {
  const Tensor whole = extract_features(flat, pixels_0_to_255(), {.batch_size = 16});
  std::vector<int64_t> done;
  const Tensor parts =
      extract_features(flat, pixels_0_to_255(),
                       {.batch_size = 5, .progress = [&](int64_t n) { done.push_back(n); }});
  EXPECT_TRUE(at::equal(whole, parts));
  EXPECT_EQ(done, (std::vector<int64_t>{5, 10, 15, 16}));
}

TEST(ExtractFeaturesTest, RefusesOtherImagesAndFeatures) {
  const Tensor images = pixels_0_to_255();
  EXPECT_THROW(extract_features(flat, images.to(at::kFloat), {}), std::invalid_argument);
  EXPECT_THROW(extract_features(flat, images.slice(0, 0, 0), {}), std::invalid_argument);
  EXPECT_THROW(extract_features(flat, images, {.batch_size = 0}), std::invalid_argument);
  const FeatureFn one_number = [](const Tensor& x) { return x.sum(); };
  EXPECT_THROW(extract_features(one_number, images, {}), std::invalid_argument);
}

}  // namespace
}  // namespace ddpm
