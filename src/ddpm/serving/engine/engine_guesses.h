#pragma once

#include <cstdint>
#include <vector>

#include "ddpm/diffusion/noise_schedule.h"
#include "ddpm/serving/engine/engine_batch.h"
#include "ddpm/serving/engine/engine_slots.h"

namespace ddpm {

/// Guesses of x_0 that an image of the model in flight has: none, one, or one for the class and one
/// for no class, where it can be guided.
int64_t guesses_an_image(const EngineModel& model);

/// The guesses of the images in one network call of a self-conditioned model.
struct CallGuesses {
  std::vector<GuessPlace> places = {};  ///< Of the call's rows, without its padding.
  Tensor values = {};  ///< [rows, C, H, W]: the last ones, then those that the call makes.
};

/// The last guesses; for a model that sees x_t alone, none.
///
/// @param images as advance_batch has them.
/// @param taken  [N], their slots.
CallGuesses gather_guesses(const EngineModel& model, const EngineSlots& slots,
                           const std::vector<BatchImage>& images,
                           const std::vector<int64_t>& taken);

/// The network for one call of advance_batch, which gives it the guesses beside x_t and takes what
/// it guesses now: self_condition. For a model that sees x_t alone, the network itself.
///
/// @param schedule the model's, on its device.
/// @param guesses  of gather_guesses; they must outlive the result.
EngineNetwork with_guesses(const EngineModel& model, const EngineNetwork& network,
                           const NoiseSchedule& schedule, CallGuesses& guesses);

}  // namespace ddpm
