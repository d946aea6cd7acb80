#pragma once

#include <cstdint>
#include <functional>

#include "ddpm/core/tensor.h"

namespace ddpm {

/// features = extract(images): [N, C, H, W] float32 in [-1, 1] to [N, F] floating, on one device.
using FeatureFn = std::function<Tensor(const Tensor& images)>;

struct FeatureOptions {
  int64_t batch_size = 256;
  at::Device device = at::kCPU;                  ///< Where the images are brought to.
  std::function<void(int64_t done)> progress{};  ///< Called with the number of images behind it.
};

/// The features of a set of images, x = pixel / 127.5 - 1, batch by batch without gradients.
///
/// @param images [N, C, H, W] uint8 on the CPU, N at least 1.
/// @return       [N, F] float32, on options.device.
/// @throws std::invalid_argument for other images, a batch_size below 1, or features that are not
///         one row an image.
Tensor extract_features(const FeatureFn& extract, const Tensor& images,
                        const FeatureOptions& options);

}  // namespace ddpm
