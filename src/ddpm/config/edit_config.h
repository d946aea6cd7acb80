#pragma once

#include <cstdint>

#include "ddpm/config/field.h"

namespace ddpm {

/// How an image is drawn that must agree with what is known of it (sampling/restore.h).
struct RestoreOptions {
  int64_t jump_length = 10;
  int64_t resamples = 5;
  double sigma_y = 0.0;

  template <typename Visitor>
  void visit_fields(Visitor&& visit) {
    visit("jump_length", jump_length, "steps that are taken again together", at_least(1));
    visit("resamples", resamples,
          "how often they are taken, so that what is drawn comes to agree with what is known; 1: "
          "once, no going back",
          at_least(1));
    visit("sigma_y", sigma_y,
          "standard deviation of the noise in what is known, of pixels in [-1, 1]", at_least(0));
  }
};

}  // namespace ddpm
