#include "ddpm/evaluation/held_out_batch.h"

#include <ATen/ATen.h>

#include <numeric>
#include <vector>

#include "ddpm/core/check.h"
#include "ddpm/core/philox.h"
#include "ddpm/core/send_to_device.h"
#include "ddpm/kernels/q_sample_uint8.h"

namespace ddpm {

void check_held_out(const char* function, const ImageSet& set, int64_t batch_size) {
  check_arg(set.images.dim() == 4 && set.images.scalar_type() == at::kByte &&
                set.images.size(0) >= 2 && set.labels.size(0) == set.images.size(0),
            "[", function, "] images: expected at least 2 of uint8 with a label each, got ",
            set.images.sizes(), " of ", set.images.scalar_type());
  check_arg(batch_size >= 1, "[", function, "] batch_size: expected at least 1, got ", batch_size);
}

HeldOutBatch take_held_out_batch(const ImageSet& set, int64_t first, int64_t count,
                                 at::Device device) {
  const Tensor pixels = send_to_device(set.images.narrow(/*dim=*/0, first, count), device);
  return {.x_start = x_start_of_pixels(pixels, /*flip=*/{}),
          .labels = send_to_device(set.labels.narrow(/*dim=*/0, first, count), device),
          .first = first};
}

Tensor held_out_noise(const HeldOutBatch& batch, uint64_t seed, int64_t draw) {
  std::vector<uint64_t> images(static_cast<size_t>(batch.x_start.size(0)));
  std::iota(images.begin(), images.end(), static_cast<uint64_t>(batch.first));
  const Tensor noise =
      normal_like_images({seed, RandomStream::kEvaluationNoise}, images,
                         static_cast<uint32_t>(draw), batch.x_start.sizes().slice(1));
  return send_to_device(noise, batch.x_start.device());
}

}  // namespace ddpm
