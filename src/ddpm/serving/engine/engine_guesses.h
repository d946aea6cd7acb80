#pragma once

#include <cstdint>

#include "ddpm/diffusion/noise_schedule.h"
#include "ddpm/serving/engine/engine_model.h"

namespace ddpm {

/// Guesses of x_0 that an image of the model in flight has: none, one, or one for the class and one
/// for no class, where it can be guided.
int64_t guesses_an_image(const EngineModel& model);

/// The guesses in one network call of a self-conditioned model.
struct CallGuesses {
  Tensor last;       ///< [rows, C, H, W]: of the call's rows, with its padding.
  Tensor made = {};  ///< [rows, C, H, W]: of the rows without padding, by the call.
};

/// The network for one call of advance_batch, which gives it the guesses beside x_t and takes what
/// it guesses now: self_condition. For a model that sees x_t alone, the network itself.
///
/// @param schedule the model's, on its device.
/// @param rows     of the call without its padding.
/// @param guesses  they must outlive the result.
EngineNetwork with_guesses(const EngineModel& model, const EngineNetwork& network,
                           const NoiseSchedule& schedule, int64_t rows, CallGuesses& guesses);

}  // namespace ddpm
