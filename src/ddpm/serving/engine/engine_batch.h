#pragma once

#include <cstdint>
#include <vector>

#include "ddpm/config/guidance_config.h"
#include "ddpm/config/sample_config.h"
#include "ddpm/core/philox.h"
#include "ddpm/sampling/sampler_state.h"
#include "ddpm/serving/engine/engine_model.h"

namespace ddpm {

struct CallInput;

/// An image in one network call.
struct BatchImage {
  const SamplerCall* call = nullptr;
  const SamplerOptions* sampler = nullptr;    ///< How its pred_x_start is clipped.
  const GuidanceOptions* guidance = nullptr;  ///< Null: not guided at this call; else two rows.
  uint64_t seed = 0;
  uint64_t number = 0;  ///< Of the image: with the seed, the key of its noise.
  int64_t slot = 0;     ///< Where its state lies.
  int64_t class_label = 0;
  bool whole_timesteps = true;  ///< Of its plan.
};

/// Rows of the network call that these images need.
int64_t count_rows(const std::vector<BatchImage>& images);

/// Standard normal [N, C, H, W]: row i is what the batch sampler draws for image i, in the stream
/// of its beginning (kInitialNoise, step 0; on the CPU, pinned for a GPU), or of its call's noise
/// (on the model's device).
Tensor initial_noise(const EngineModel& model, const std::vector<BatchImage>& images);
Tensor step_noise(const EngineModel& model, const std::vector<BatchImage>& images);

/// One network call for images at any calls of any plans, then advance_each.
///
/// Guidance is guide_each.
///
/// @param state of the images, [N, C, H, W]; its position is not used.
/// @return      as advance_each.
/// @throws what the network does, or std::invalid_argument if its answer has a wrong shape.
AdvanceResult advance_batch(const EngineModel& model, const EngineNetwork& network,
                            const std::vector<BatchImage>& images, const CallInput& input,
                            const SamplerState& state);

}  // namespace ddpm
