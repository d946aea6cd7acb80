#include "ddpm/data/image_tensor.h"

#include <ATen/ATen.h>

#include "data/image_fixtures.h"
#include "support/tensor_matchers.h"

namespace ddpm {
namespace {

using testing::counting_image;
using testing::images_near;
using testing::tensors_near;

TEST(ImageTensorTest, EveryLevelComesBack) {
  Image image = Image::filled(16, 16, 1);
  for (size_t i = 0; i < 256; ++i) image.pixels[i] = static_cast<uint8_t>(i);
  const Tensor x = image_to_tensor(image);
  EXPECT_TRUE(tensors_near(x.flatten(), at::arange(256, at::kDouble) / 127.5 - 1, 1e-7));
  EXPECT_TRUE(images_near(image_from_tensor(x), image, 0));
}

TEST(ImageTensorTest, RoundsAndClampsRatherThanTruncates) {
  const double level = 1 / 127.5;
  const Tensor x = at::tensor({-1 + 99.6 * level, -1 + 99.4 * level, -7.0, 1.0, 1e30, 0.999})
                       .to(at::kFloat)
                       .view({1, 1, 6});
  EXPECT_EQ(image_from_tensor(x).pixels, (std::vector<uint8_t>{100, 99, 0, 255, 255, 255}));
}

TEST(ImageTensorTest, ChannelsComeFirstInTensorsAndLastInImages) {
  const Image image = counting_image(4, 3, 3);
  const Tensor x = image_to_tensor(image);
  EXPECT_EQ(x.sizes(), (at::IntArrayRef{3, 3, 4}));
  EXPECT_TRUE(x.is_contiguous());
  EXPECT_NEAR(x[2][1][3].item<double>(), image.at(3, 1)[2] / 127.5 - 1, 1e-7);
  const Tensor strided = x.permute({1, 2, 0}).contiguous().permute({2, 0, 1});
  EXPECT_TRUE(images_near(image_from_tensor(strided), image, 0));
  EXPECT_TRUE(images_near(image_from_tensor(x.to(at::kDouble)), image, 0));
}

TEST(ImageTensorTest, RefusesNanShapesAndWholeNumbers) {
  Tensor x = at::zeros({3, 2, 2});
  x[1][0][0] = std::numeric_limits<float>::quiet_NaN();
  EXPECT_THROW(image_from_tensor(x), std::invalid_argument);
  EXPECT_THROW(image_from_tensor(at::zeros({2, 4, 4})), std::invalid_argument);
  EXPECT_THROW(image_from_tensor(at::zeros({4, 4})), std::invalid_argument);
  EXPECT_THROW(image_from_tensor(at::zeros({1, 4, 4}, at::kByte)), std::invalid_argument);
  EXPECT_THROW(make_grid(at::zeros({1, 4, 4}), 2), std::invalid_argument);
}

TEST(ImageTensorTest, GridLaysABatchOutInRowsOnWhite) {
  const Tensor nchw = at::tensor({-1.0, 0.0, 0.5}).to(at::kFloat).view({3, 1, 1, 1});
  const Image grid = make_grid(nchw, /*columns=*/2, /*padding=*/1, /*scale=*/2);
  EXPECT_EQ(grid.width, 7);
  EXPECT_EQ(grid.pixels, (std::vector<uint8_t>{255, 255, 255, 255, 255, 255, 255,  //
                                               255, 0,   0,   255, 128, 128, 255,  //
                                               255, 0,   0,   255, 128, 128, 255,  //
                                               255, 255, 255, 255, 255, 255, 255,  //
                                               255, 191, 191, 255, 255, 255, 255,  //
                                               255, 191, 191, 255, 255, 255, 255,  //
                                               255, 255, 255, 255, 255, 255, 255}));
}

TEST(ImageTensorTest, StripTakesOneBatchARow) {
  const Tensor row = at::zeros({2, 3, 8, 8});
  const StripLabels labels{.rows = {"x_t", "x_0"}, .columns = {"t=1", "t=0"}, .title = ""};
  const Image from_tensors = make_strip({row, row}, labels, 2);
  const Image picture = Image::filled(8, 8, 3, 128);
  EXPECT_TRUE(images_near(from_tensors,
                          label_strip({{picture, picture}, {picture, picture}}, labels, 2), 0));
}

}  // namespace
}  // namespace ddpm
