#include "ddpm/core/philox.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <algorithm>
#include <cmath>
#include <numbers>

#include "ddpm/core/check.h"

namespace ddpm {
namespace {

using Words = std::array<uint32_t, 4>;

constexpr uint32_t low(uint64_t bits) { return static_cast<uint32_t>(bits); }
constexpr uint32_t high(uint64_t bits) { return static_cast<uint32_t>(bits >> 32); }

/// The blocks of one (key, image, step).
class Blocks {
 public:
  Blocks(RandomKey key, uint64_t image, uint32_t step) : image_(image), step_(step) {
    const Words derived = philox4x32_10({static_cast<uint32_t>(key.stream), 0, 0, 0},
                                        {low(key.seed), high(key.seed)});
    key_ = {derived[0], derived[1]};
  }

  Words operator()(uint32_t block) const {
    return philox4x32_10({block, step_, low(image_), high(image_)}, key_);
  }

 private:
  uint64_t image_;
  uint32_t step_;
  std::array<uint32_t, 2> key_{};
};

std::array<float, 4> uniforms(const Words& words) {
  std::array<float, 4> draws{};
  for (size_t i = 0; i < 4; ++i) draws[i] = static_cast<float>(words[i] >> 8) * 0x1p-24F;
  return draws;
}

std::array<float, 4> normals(const Words& words) {
  constexpr float kAngleUnit = 2 * std::numbers::pi_v<float> * 0x1p-32F;
  std::array<float, 4> draws{};
  for (size_t i = 0; i < 4; i += 2) {
    const float u = static_cast<float>(words[i]) * 0x1p-32F + 0x1p-33F;
    const float radius = std::sqrt(-2 * std::log(u));
    const float angle = static_cast<float>(words[i + 1]) * kAngleUnit;
    draws[i] = radius * std::cos(angle);
    draws[i + 1] = radius * std::sin(angle);
  }
  return draws;
}

template <std::array<float, 4> (*Draw)(const Words&)>
void fill(RandomKey key, uint64_t image, uint32_t step, float* out, int64_t n) {
  check_arg(n >= 0 && n <= int64_t{1} << 34, "[fill] too many draws: expected 0 to 2^34, got ", n);
  const Blocks blocks(key, image, step);
  for (int64_t i = 0; i < n; i += 4) {
    const auto draws = Draw(blocks(static_cast<uint32_t>(i / 4)));
    std::copy_n(draws.begin(), std::min<int64_t>(4, n - i), out + i);
  }
}

template <std::array<float, 4> (*Draw)(const Words&)>
Tensor like_images(RandomKey key, at::ArrayRef<uint64_t> images, uint32_t step,
                   at::IntArrayRef image_shape, at::Device device) {
  const auto count = static_cast<int64_t>(images.size());
  std::vector<int64_t> shape{count};
  shape.insert(shape.end(), image_shape.begin(), image_shape.end());
  const Tensor draws = at::empty(shape, at::kFloat);
  if (draws.numel() == 0) return draws.to(device);

  const int64_t per_image = draws.numel() / count;
  float* const out = draws.mutable_data_ptr<float>();
  at::parallel_for(0, count, 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      fill<Draw>(key, images[static_cast<size_t>(i)], step, out + i * per_image, per_image);
    }
  });
  return draws.to(device);
}

}  // namespace

Words philox4x32_10(Words counter, std::array<uint32_t, 2> key) {
  for (int round = 0; round < 10; ++round) {
    const uint64_t product0 = uint64_t{0xD2511F53} * counter[0];
    const uint64_t product1 = uint64_t{0xCD9E8D57} * counter[2];
    counter = {high(product1) ^ counter[1] ^ key[0], low(product1),
               high(product0) ^ counter[3] ^ key[1], low(product0)};
    key[0] += 0x9E3779B9;
    key[1] += 0xBB67AE85;
  }
  return counter;
}

void fill_uniform(RandomKey key, uint64_t image, uint32_t step, float* out, int64_t n) {
  fill<uniforms>(key, image, step, out, n);
}

void fill_normal(RandomKey key, uint64_t image, uint32_t step, float* out, int64_t n) {
  fill<normals>(key, image, step, out, n);
}

uint64_t random_bits(RandomKey key, uint64_t image, uint32_t step) {
  const Words words = Blocks(key, image, step)(0);
  return uint64_t{words[1]} << 32 | words[0];
}

int64_t random_below(RandomKey key, uint64_t image, uint32_t step, int64_t n) {
  check_arg(n >= 1 && n <= int64_t{1} << 32, "[random_below] n: expected 1 to 2^32, got ", n);
  const uint64_t bits = random_bits(key, image, step);
  const auto factor = static_cast<uint64_t>(n);
  return static_cast<int64_t>((high(bits) * factor + (low(bits) * factor >> 32)) >> 32);
}

Tensor normal_like_images(RandomKey key, at::ArrayRef<uint64_t> images, uint32_t step,
                          at::IntArrayRef image_shape, at::Device device) {
  return like_images<normals>(key, images, step, image_shape, device);
}

Tensor uniform_like_images(RandomKey key, at::ArrayRef<uint64_t> images, uint32_t step,
                           at::IntArrayRef image_shape, at::Device device) {
  return like_images<uniforms>(key, images, step, image_shape, device);
}

}  // namespace ddpm
