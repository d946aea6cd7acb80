#pragma once

#include <cstdint>

#include "ddpm/config/augment_config.h"
#include "ddpm/core/tensor.h"

namespace ddpm {

/// Augmentation that does not leak [Karras et al. 2020; EDM App. F.2]: training images are
/// transformed at random, and the network is told how. Told nothing (zeros), it draws images as
/// they are.
///
/// Seen from the image's centre, x to the right, y down, its side 1, a pixel goes to
/// T A R S F_y F_x (x, y) with, in the order of [EDM Tab. 6], a and b standard normal, w uniform in
/// [-pi, pi):
///
///     transformation                                             applied to      labels
///     F_x  (-x, y)                                               1/2             1
///     F_y  (x, -y)                                               p / 2           1
///     S    2^(0.2 a) (x, y)                                      p               a
///     R    counter-clockwise by w                                p               cos w - 1, sin w
///     A    2^(0.2 a) along the direction w, 2^(-0.2 a) across    p               a cos w, a sin w
///     T    (x + a / 8, y + b / 8)                                p               a, b
///
/// with p = config.probability. A direction w is counter-clockwise from the right.
struct AugmentParameters {  // each [N] float64 on the CPU; 0 where nothing is applied
  Tensor x_flip;            ///< 0 or 1
  Tensor y_flip;            ///< 0 or 1
  Tensor scale;             ///< a of S
  Tensor angle;             ///< w of R
  Tensor stretch;           ///< a of A
  Tensor stretch_angle;     ///< w of A
  Tensor shift_x;           ///< a of T
  Tensor shift_y;           ///< b of T
};

/// The transformations of a run's samples: sample k draws from Philox keyed by (seed,
/// RandomStream::kAugment, k). Kinds that are off change nothing of the others' draws.
AugmentParameters draw_augmentation(const AugmentConfig& config, uint64_t seed,
                                    at::ArrayRef<uint64_t> samples);

/// Where the transformed image's pixels come from: the inverse of T A R S F_y F_x, in coordinates
/// from the centre with the half side as unit.
///
/// @return [N, 2, 3] float32 on the CPU: (x, y, 1) of the result -> (x, y) of the image.
Tensor source_matrices(const AugmentParameters& parameters);

/// What the network is told: the labels of the kinds that are on, in the order above.
///
/// @return [N, config.num_labels()] float32 on the CPU; a row of zeros for an image as it is.
Tensor augment_labels(const AugmentConfig& config, const AugmentParameters& parameters);

/// The transformed images, by bicubic interpolation (Keys' kernel with a = -3/4, as LibTorch has
/// it), of images that are mirrored beyond their edges; clamped to [-1, 1], which the kernel can
/// leave. No filter keeps a reduced image from aliasing: the network is told of the reduction, so
/// that it does not learn its traces. An image whose matrix is the identity keeps its bits. Waits
/// for no device.
///
/// @param images   [N, C, S, S] float32 in [-1, 1].
/// @param matrices [N, 2, 3] float32 of source_matrices, on the images' device.
/// @return         like images.
/// @throws std::invalid_argument if a shape is another.
Tensor warp_images(const Tensor& images, const Tensor& matrices);

}  // namespace ddpm
