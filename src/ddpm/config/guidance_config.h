#pragma once

#include <cstdint>
#include <vector>

#include "ddpm/config/field.h"

namespace ddpm {

/// How far a network's answer is driven away from a weaker one's: the same network without its
/// class label, or another network (sampling/guidance.h has the formulas).
struct GuidanceOptions {
  double scale = 1.0;
  double rescale = 0.0;
  std::vector<double> interval;

  template <typename Visitor>
  void visit_fields(Visitor&& visit) {
    visit("scale", scale, "s of weak + s (strong - weak): 1 is off, more follows the class closer",
          at_least(0));
    visit("rescale", rescale,
          "how much of the guided answer gets the unguided one's standard deviation, 0 none, 1 all",
          between(0, 1));
    visit("interval", interval,
          "lowest and highest sigma of the EDM view at which to guide; empty: everywhere",
          at_least(0));
  }
};

}  // namespace ddpm
