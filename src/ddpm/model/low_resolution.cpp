#include "ddpm/model/low_resolution.h"

#include <ATen/ATen.h>

#include "ddpm/core/check.h"

namespace ddpm {

Tensor reduce_images(const Tensor& images, int64_t factor) {
  check_arg(factor >= 1 && images.dim() == 4 && images.size(2) % factor == 0 &&
                images.size(3) % factor == 0,
            "[reduce_images] the factor must divide the sides: expected [N, C, H, W] of multiples ",
            "of ", factor, ", got ", images.sizes());
  return at::avg_pool2d(images, {factor, factor});
}

Tensor enlarge_images(const Tensor& images, int64_t factor) {
  return at::upsample_bilinear2d(images, {images.size(2) * factor, images.size(3) * factor},
                                 /*align_corners=*/false);
}

}  // namespace ddpm
