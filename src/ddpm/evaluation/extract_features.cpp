#include "ddpm/evaluation/extract_features.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <algorithm>
#include <vector>

#include "ddpm/core/check.h"
#include "ddpm/core/send_to_device.h"
#include "ddpm/kernels/q_sample_uint8.h"

namespace ddpm {

Tensor extract_features(const FeatureFn& extract, const Tensor& images,
                        const FeatureOptions& options) {
  check_arg(images.dim() == 4 && images.scalar_type() == at::kByte && images.size(0) > 0,
            "[extract_features] images: expected [N, C, H, W] uint8 with N at least 1, got ",
            images.sizes(), " of ", images.scalar_type());
  check_arg(options.batch_size >= 1, "[extract_features] batch_size: expected at least 1, got ",
            options.batch_size);
  const at::NoGradGuard no_grad;
  std::vector<Tensor> features;
  const int64_t count = images.size(0);
  for (int64_t first = 0; first < count; first += options.batch_size) {
    const int64_t size = std::min(options.batch_size, count - first);
    const Tensor pixels = send_to_device(images.narrow(/*dim=*/0, first, size), options.device);
    features.push_back(extract(x_start_of_pixels(pixels, /*flip=*/{})).to(at::kFloat));
    check_arg(features.back().dim() == 2 && features.back().size(0) == size,
              "[extract_features] features: expected [", size, ", F], got ",
              features.back().sizes());
    if (options.progress) options.progress(first + size);
  }
  return at::cat(features);
}

}  // namespace ddpm
