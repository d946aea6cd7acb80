#pragma once

#include <cstdint>

#include "ddpm/data/image_set.h"
#include "ddpm/evaluation/held_out_loss.h"

namespace ddpm {

/// The bound of a set of images, in bits per dimension; means over images.
struct VariationalBound {
  double bits_per_dim = 0;    ///< prior + kl_terms + first_term.
  double standard_error = 0;  ///< Of bits_per_dim: over images, draws included.
  double prior = 0;           ///< KL(q(x_T | x_0) || N(0, 1))
  double kl_terms = 0;        ///< L_1 + .. + L_{T-1}
  double first_term = 0;      ///< L_0 = -log p(x_0 | x_1)
  int64_t num_images = 0;
  int64_t num_draws = 0;
};

/// The variational bound of -log p(x_0) [DDPM Eq. 5]: what IDDPM reports as its likelihood. The
/// first term and the prior are taken of every image, the sum of the T - 1 terms between from
/// options.num_draws of them, one from each of as many parts of 1 .. T - 1, times (T - 1) /
/// num_draws; num_draws = T - 1 takes each once. Noise is keyed as in held_out_loss.
///
/// x_start as the network predicts it is clipped to [-1, 1], as in the published numbers.
///
/// @param model model.loss is not used.
/// @param set   at least 2 images, pixels 0 to 255.
/// @throws std::invalid_argument for fewer images, a batch_size below 1, T < 2, or num_draws not in
///         1 .. T - 1.
VariationalBound variational_bound(const EvaluatedModel& model, const ImageSet& set,
                                   const HeldOutOptions& options);

}  // namespace ddpm
