#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <vector>

#include "ddpm/core/philox.h"

namespace ddpm {
namespace {

using Fill = void (*)(RandomKey key, uint64_t image, uint32_t step, float* out, int64_t n);

Tensor like_images(Fill fill, RandomKey key, at::ArrayRef<uint64_t> images, uint32_t step,
                   at::IntArrayRef image_shape, at::Device device) {
  const auto count = static_cast<int64_t>(images.size());
  std::vector<int64_t> shape{count};
  shape.insert(shape.end(), image_shape.begin(), image_shape.end());
  const bool is_sent = device.is_cuda();  // from pinned memory, which the host does not wait for
  const Tensor draws = at::empty(shape, at::TensorOptions(at::kFloat).pinned_memory(is_sent));
  if (draws.numel() == 0) return draws.to(device);

  const int64_t per_image = draws.numel() / count;
  float* const out = draws.mutable_data_ptr<float>();
  at::parallel_for(0, count, 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      fill(key, images[static_cast<size_t>(i)], step, out + i * per_image, per_image);
    }
  });
  return draws.to(device, /*non_blocking=*/is_sent);
}

}  // namespace

Tensor normal_like_images(RandomKey key, at::ArrayRef<uint64_t> images, uint32_t step,
                          at::IntArrayRef image_shape, at::Device device) {
  return like_images(fill_normal, key, images, step, image_shape, device);
}

Tensor uniform_like_images(RandomKey key, at::ArrayRef<uint64_t> images, uint32_t step,
                           at::IntArrayRef image_shape, at::Device device) {
  return like_images(fill_uniform, key, images, step, image_shape, device);
}

}  // namespace ddpm
