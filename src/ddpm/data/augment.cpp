#include "ddpm/data/augment.h"

#include <ATen/ATen.h>

#include <numbers>
#include <vector>

#include "ddpm/core/check.h"
#include "ddpm/core/philox.h"

namespace ddpm {
namespace {

constexpr double kLogScale = 0.2 * std::numbers::ln2;  // of both scaling and anisotropy
constexpr double kShift = 1.0 / 8;                     // of the side

// Columns of an image's uniform draws (step 0), whichever kinds are on.
enum UniformDraw : int64_t {
  kXFlip,
  kYFlipApplied,
  kYFlip,
  kScaleApplied,
  kRotationApplied,
  kRotationAngle,
  kStretchApplied,
  kStretchAngle,
  kShiftApplied,
  kNumUniforms
};

// And of its normal draws (step 1).
enum NormalDraw : int64_t { kScale, kStretch, kShiftX, kShiftY, kNumNormals };

/// [[a, b], [c, d]] of each image: [N, 2, 2].
Tensor square_matrices(const Tensor& a, const Tensor& b, const Tensor& c, const Tensor& d) {
  return at::stack({at::stack({a, b}, /*dim=*/1), at::stack({c, d}, /*dim=*/1)}, /*dim=*/1);
}

Tensor diagonal_matrices(const Tensor& a, const Tensor& d) {
  return square_matrices(a, at::zeros_like(a), at::zeros_like(a), d);
}

/// Turns (x, y) counter-clockwise as it is seen, y being down.
Tensor rotations(const Tensor& angle) {
  return square_matrices(angle.cos(), angle.sin(), -angle.sin(), angle.cos());
}

}  // namespace

AugmentParameters draw_augmentation(const AugmentConfig& config, uint64_t seed,
                                    at::ArrayRef<uint64_t> samples) {
  const RandomKey key{seed, RandomStream::kAugment};
  const Tensor uniform =
      uniform_like_images(key, samples, /*step=*/0, {kNumUniforms}).to(at::kDouble);
  const Tensor normal = normal_like_images(key, samples, /*step=*/1, {kNumNormals}).to(at::kDouble);
  const auto applied = [&](bool kind_on, UniformDraw draw) {
    return (uniform.select(/*dim=*/1, draw) < (kind_on ? config.probability : 0)).to(at::kDouble);
  };
  const auto coin = [&](UniformDraw draw) {
    return (uniform.select(/*dim=*/1, draw) < 0.5).to(at::kDouble);
  };
  const auto angle = [&](UniformDraw draw) {
    return (2 * uniform.select(/*dim=*/1, draw) - 1) * std::numbers::pi;
  };
  const auto drawn = [&](NormalDraw draw) { return normal.select(/*dim=*/1, draw); };
  const Tensor stretched = applied(config.anisotropy, kStretchApplied);
  const Tensor shifted = applied(config.translation, kShiftApplied);
  return {.x_flip = config.x_flip ? coin(kXFlip) : at::zeros_like(shifted),
          .y_flip = applied(config.y_flip, kYFlipApplied) * coin(kYFlip),
          .scale = applied(config.scaling, kScaleApplied) * drawn(kScale),
          .angle = applied(config.rotation, kRotationApplied) * angle(kRotationAngle),
          .stretch = stretched * drawn(kStretch),
          .stretch_angle = stretched * angle(kStretchAngle),
          .shift_x = shifted * drawn(kShiftX),
          .shift_y = shifted * drawn(kShiftY)};
}

Tensor source_matrices(const AugmentParameters& p) {
  const Tensor flips = diagonal_matrices(1 - 2 * p.x_flip, 1 - 2 * p.y_flip);
  const Tensor scale = at::exp(-kLogScale * p.scale);
  const Tensor along = at::exp(-kLogScale * p.stretch);
  const Tensor unstretch = rotations(p.stretch_angle)
                               .matmul(diagonal_matrices(along, 1 / along))
                               .matmul(rotations(-p.stretch_angle));
  const Tensor linear =
      flips.matmul(diagonal_matrices(scale, scale)).matmul(rotations(-p.angle)).matmul(unstretch);
  constexpr double kHalfSides = 2;  // the half side is 1
  const Tensor shift = kHalfSides * kShift * at::stack({p.shift_x, p.shift_y}, /*dim=*/1);
  const Tensor offset = -linear.matmul(shift.unsqueeze(2));
  return at::cat({linear, offset}, /*dim=*/2).to(at::kFloat);
}

Tensor augment_labels(const AugmentConfig& config, const AugmentParameters& p) {
  std::vector<Tensor> labels;
  const auto tell = [&](bool kind_on, const std::vector<Tensor>& columns) {
    if (kind_on) labels.insert(labels.end(), columns.begin(), columns.end());
  };
  tell(config.x_flip, {p.x_flip});
  tell(config.y_flip, {p.y_flip});
  tell(config.scaling, {p.scale});
  tell(config.rotation, {p.angle.cos() - 1, p.angle.sin()});
  tell(config.anisotropy, {p.stretch * p.stretch_angle.cos(), p.stretch * p.stretch_angle.sin()});
  tell(config.translation, {p.shift_x, p.shift_y});
  return at::stack(labels, /*dim=*/1).to(at::kFloat);
}

Tensor warp_images(const Tensor& images, const Tensor& matrices) {
  check_arg(images.dim() == 4 && images.size(2) == images.size(3),
            "[warp_images] images: expected square ones, [N, C, S, S], got ", images.sizes());
  check_arg(matrices.sizes() == at::IntArrayRef({images.size(0), 2, 3}),
            "[warp_images] matrices: expected [", images.size(0), ", 2, 3], got ",
            matrices.sizes());
  const int64_t size = images.size(2);
  const Tensor centres = (2 * at::arange(size, images.options()) + 1) / size - 1;
  const Tensor x = centres.view({1, 1, size});
  const Tensor y = centres.view({1, size, 1});
  // Not by at::affine_grid: on a GPU its matrix product may be rounded to TF32.
  const auto source = [&](int64_t row) {
    const auto entry = [&](int64_t i) {
      return matrices.select(/*dim=*/1, row).select(/*dim=*/1, i).view({-1, 1, 1});
    };
    return entry(0) * x + entry(1) * y + entry(2);
  };
  constexpr int64_t kBicubic = 2;
  constexpr int64_t kReflection = 2;
  const Tensor warped = at::grid_sampler(images, at::stack({source(0), source(1)}, /*dim=*/3),
                                         kBicubic, kReflection, /*align_corners=*/false)
                            .clamp(-1, 1);
  const Tensor identity = at::eye(2, 3, matrices.options());
  const Tensor moves = (matrices != identity).flatten(/*start_dim=*/1).any(/*dim=*/1);
  return at::where(moves.view({-1, 1, 1, 1}), warped, images);
}

}  // namespace ddpm
