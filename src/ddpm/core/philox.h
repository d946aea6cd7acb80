#pragma once

#include <array>
#include <cstdint>

#include "ddpm/core/tensor.h"

namespace ddpm {

/// Philox4x32-10 [Salmon et al. 2011]: 128 random bits of `counter` under `key`.
std::array<uint32_t, 4> philox4x32_10(std::array<uint32_t, 4> counter, std::array<uint32_t, 2> key);

/// What a draw is for. Streams of one seed are independent. The numbers are part of the file
/// format: a resumed run draws the same, so an enumerator never changes its value.
enum class RandomStream : uint32_t {
  kWeights = 1,
  kOrder,
  kTimestep,
  kTrainNoise,
  kFlip,
  kInitialNoise,
  kStepNoise,
  kDropout,
  kTest,
  kShapes,
  kStratum,
  kClassDropout,
  kOffsetNoise,
  kInputNoise,
  kEvaluationTimestep,
  kEvaluationNoise,
  kAugment
};

/// Names an endless random sequence. Block b of (key, image, step) is
///
///     philox4x32_10({b, step, low(image), high(image)}, {d0, d1})   with
///     {d0, d1, _, _} = philox4x32_10({stream, 0, 0, 0}, {low(seed), high(seed)})
///
/// so every draw is a function of (seed, stream, image, step, element) alone: it does not depend on
/// the batch, the thread or the machine. `image` is any 64-bit number that tells draws apart: an
/// image's seed, a sample's position in the run, a parameter's index.
struct RandomKey {
  uint64_t seed;
  RandomStream stream;
};

/// Fills out[0, n) with uniform draws: element i is (r >> 8) * 2^-24, where r is word i % 4 of
/// block i / 4. Range [0, 1), exact, the same bits everywhere.
void fill_uniform(RandomKey key, uint64_t image, uint32_t step, float* out, int64_t n);

/// Fills out[0, n) with standard normal draws by Box-Muller, in float32: words (r0, r1) of block b
/// give the elements 4b and 4b + 1, words (r2, r3) the next two:
///
///     u = r0 * 2^-32 + 2^-33    radius = sqrt(-2 log u)    angle = r1 * 2 pi 2^-32
///     radius * cos(angle),  radius * sin(angle)
///
/// |draw| < 6.8. log, cos and sin are series of +, -, * and / that are rounded in a fixed order, so
/// every CPU gives the same bits; a libm, or a GPU, gives the same within 2e-6.
void fill_normal(RandomKey key, uint64_t image, uint32_t step, float* out, int64_t n);

/// 64 random bits: words 0 (low) and 1 (high) of block 0.
uint64_t random_bits(RandomKey key, uint64_t image, uint32_t step);

/// A uniform integer in [0, n): the high part of random_bits * n. Bias below n * 2^-64.
///
/// @throws std::invalid_argument unless 1 <= n <= 2^32.
int64_t random_below(RandomKey key, uint64_t image, uint32_t step, int64_t n);

/// Standard normals for a batch: row i is fill_normal(key, images[i], step, ...).
///
/// @param image_shape shape of one image, for example {C, H, W}.
/// @return [N, image_shape...] float32, contiguous, on `device`. Drawn on the CPU, in parallel.
Tensor normal_like_images(RandomKey key, at::ArrayRef<uint64_t> images, uint32_t step,
                          at::IntArrayRef image_shape, at::Device device = at::kCPU);

/// As normal_like_images, uniform in [0, 1).
Tensor uniform_like_images(RandomKey key, at::ArrayRef<uint64_t> images, uint32_t step,
                           at::IntArrayRef image_shape, at::Device device = at::kCPU);

}  // namespace ddpm
