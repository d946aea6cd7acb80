#pragma once

#include <cstdint>

#include "ddpm/config/field.h"

namespace ddpm {

/// Random transformations of the training images that the network is told of, so that it does not
/// draw them (data/augment.h has the formulas).
struct AugmentConfig {
  bool enabled = false;
  double probability = 0.12;
  bool x_flip = true;
  bool y_flip = true;
  bool scaling = true;
  bool rotation = true;
  bool anisotropy = true;
  bool translation = true;

  /// Numbers that tell the network how an image was transformed: 9 for all kinds.
  int64_t num_labels() const {
    return int64_t{x_flip} + int64_t{y_flip} + int64_t{scaling} + 2 * int64_t{rotation} +
           2 * int64_t{anisotropy} + 2 * int64_t{translation};
  }

  template <typename Visitor>
  void visit_fields(Visitor&& visit) {
    visit("enabled", enabled,
          "transform training images and tell the network how, so that it draws them as they are "
          "[EDM]");
    visit("probability", probability, "of each transformation but x_flip, for an image",
          between(0, 1));
    visit("x_flip", x_flip, "mirror left and right, half of the images whatever the probability");
    visit("y_flip", y_flip, "turn half of those it is applied to upside down");
    visit("scaling", scaling, "by 2^(0.2 a), a standard normal");
    visit("rotation", rotation, "by any angle");
    visit("anisotropy", anisotropy, "by 2^(0.2 a) along any direction, 2^(-0.2 a) across it");
    visit("translation", translation, "by a normal share of the side, standard deviation 1/8");
  }
};

}  // namespace ddpm
