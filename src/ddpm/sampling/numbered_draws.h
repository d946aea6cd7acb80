#pragma once

#include <cstdint>
#include <utility>
#include <vector>

#include "ddpm/core/philox.h"
#include "ddpm/core/tensor.h"
#include "ddpm/sampling/sampler.h"

namespace ddpm {

/// Noise for a run that takes more draws than a plan has calls: draw k of an image has the key
/// (seed, image, k), so images do not depend on their batch.
class NumberedDraws {
 public:
  explicit NumberedDraws(SampleRequest request)
      : request_(std::move(request)), images_(image_keys(request_)) {}

  /// [N, C, H, W] float32, standard normal.
  Tensor next() {
    return normal_like_images({request_.seed, RandomStream::kStepNoise}, images_, number_++,
                              request_.image_shape, request_.device);
  }

 private:
  SampleRequest request_;
  std::vector<uint64_t> images_;
  uint32_t number_ = 0;
};

}  // namespace ddpm
