#include "ddpm/data/image_tensor.h"

#include <ATen/ATen.h>

#include "ddpm/core/check.h"

namespace ddpm {

Image image_from_tensor(const Tensor& chw) {
  check_arg(chw.dim() == 3 && (chw.size(0) == 1 || chw.size(0) == 3) && chw.numel() > 0,
            "[image_from_tensor] shape: expected [1 or 3, H, W], got ", chw.sizes());
  check_arg(at::isFloatingType(chw.scalar_type()),
            "[image_from_tensor] dtype: expected a floating one, got ", chw.scalar_type());
  const Tensor x = chw.detach().to(at::kCPU, at::kFloat);
  check_arg(!x.isnan().any().item<bool>(), "[image_from_tensor] values: expected numbers, got NaN");
  const Tensor hwc =
      ((x.clamp(-1, 1) + 1) * 127.5).round().to(at::kByte).permute({1, 2, 0}).contiguous();
  const auto* pixels = hwc.const_data_ptr<uint8_t>();
  return {chw.size(2), chw.size(1), chw.size(0), {pixels, pixels + hwc.numel()}};
}

Tensor image_to_tensor(const Image& image) {
  check_image("image_to_tensor", image);
  Tensor hwc = at::empty({image.height, image.width, image.channels}, at::kByte);
  std::copy(image.pixels.begin(), image.pixels.end(), hwc.mutable_data_ptr<uint8_t>());
  return (hwc.permute({2, 0, 1}).to(at::kFloat) / 127.5 - 1).contiguous();
}

std::vector<Image> images_from_tensor(const Tensor& nchw) {
  check_arg(nchw.dim() == 4 && nchw.size(0) > 0,
            "[images_from_tensor] shape: expected [N, C, H, W], got ", nchw.sizes());
  std::vector<Image> images;
  for (const Tensor& chw : nchw.to(at::kCPU).unbind()) images.push_back(image_from_tensor(chw));
  return images;
}

Image make_grid(const Tensor& nchw, int64_t columns, int64_t padding, int64_t scale) {
  std::vector<Image> images = images_from_tensor(nchw);
  for (Image& image : images) image = enlarge_pixels(image, scale);
  return tile_images(images, columns, padding);
}

Image make_strip(const std::vector<Tensor>& rows, const StripLabels& labels, int64_t scale) {
  std::vector<std::vector<Image>> images;
  for (const Tensor& row : rows) images.push_back(images_from_tensor(row));
  return label_strip(images, labels, scale);
}

}  // namespace ddpm
